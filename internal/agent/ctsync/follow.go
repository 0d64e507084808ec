package ctsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	pb "github.com/neutrino-net/neutrino/proto/hostsync/v1"
)

// maxMessage is the longest message in bytes that is read: maxBatch connections of IPv6, and room.
const maxMessage = 1 << 20

// follow hears what a host tells, until ctx ends. What was heard is kept when the host is gone: that is when it is needed.
func (s *Sync) follow(ctx context.Context, host, address string) {
	told := ""
	for wait := firstPause; ctx.Err() == nil; wait = pause(ctx, wait) {
		err := s.followOnce(ctx, host, address)
		if err != nil && ctx.Err() == nil && err.Error() != told {
			s.options.Logger.Info("another host's connections are not followed", "host", host, "error", err)
			told = err.Error()
		}
	}
}

func (s *Sync) followOnce(ctx context.Context, host, address string) error {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(s.config(func(name string) error {
			if name != host {
				return fmt.Errorf("the host at %s is %s, not %s", address, name, host)
			}
			return nil
		}))),
		grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			// A host that cannot be reached now may be reached in a moment, and by then the kernel would wait for seconds.
			return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * silence, Timeout: silence}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewHostSyncClient(conn).Follow(ctx, &pb.FollowRequest{})
	if err != nil {
		return err
	}
	silent := time.AfterFunc(silence, cancel)
	defer silent.Stop()
	heard := false
	defer func() {
		if heard {
			s.options.Heard(host, nil)
		}
	}()
	for {
		batch, err := stream.Recv()
		silent.Reset(silence)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if groups := s.common(host, batch.GetGroups()); len(groups) > 0 {
			heard = true
			s.options.Heard(host, groups)
		}
		for _, b := range batch.GetRouters() {
			if s.shares(b.GetRouterId(), host) {
				s.store.take(host, b)
			}
		}
	}
}
