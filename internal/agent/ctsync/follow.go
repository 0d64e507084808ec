package ctsync

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	for ctx.Err() == nil {
		err := s.followOnce(ctx, host, address)
		if err != nil && ctx.Err() == nil && err.Error() != told {
			s.options.Logger.Info("another host's connections are not followed", "host", host, "error", err)
			told = err.Error()
		}
		pause(ctx)
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
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * silence, Timeout: silence}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := pb.NewHostSyncClient(conn).Follow(ctx, &pb.FollowRequest{})
	if err != nil {
		return err
	}
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for _, b := range batch.GetRouters() {
			if s.shares(b.GetRouterId(), host) {
				s.store.take(host, b)
			}
		}
	}
}
