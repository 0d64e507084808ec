package packetlog

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

const (
	fileName = "packets.log"
	// maxLine bounds a line, far above what a record takes.
	maxLine = 4096
	// DefaultSize is the size of a file in bytes at which the next one is begun.
	DefaultSize = 8 << 20
	// DefaultFiles is how many files are kept.
	DefaultFiles = 4
)

// File is the log, in a directory of its own: packets.log, and before it packets.log.1 and so on. It is safe for
// concurrent use.
type File struct {
	dir   string
	size  int64
	files int

	mu   sync.Mutex
	file *os.File
	at   int64
}

// New makes a log in the directory, which is made with the first record; at most files of them of size bytes are kept.
func New(dir string, size int64, files int) *File { return &File{dir: dir, size: size, files: files} }

// Write adds a record. The line is written at once or, where that fails, not at all but for a piece that readers skip.
func (f *File) Write(r Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a record: %w", err)
	}
	line = append(line, '\n')
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(int64(len(line))); err != nil {
		return fmt.Errorf("open the log of packets: %w", err)
	}
	n, err := f.file.Write(line)
	f.at += int64(n)
	if err != nil {
		f.close()
		return fmt.Errorf("write the log of packets: %w", err)
	}
	return nil
}

func (f *File) path(n int) string {
	if n == 0 {
		return filepath.Join(f.dir, fileName)
	}
	return filepath.Join(f.dir, fmt.Sprintf("%s.%d", fileName, n))
}

// open makes the file ready for a line, and begins a new one where it would grow too long.
func (f *File) open(length int64) error {
	if f.file != nil && f.at+length > f.size {
		f.close()
	}
	if f.file != nil {
		return nil
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(f.path(0))
	if err == nil && info.Size()+length > f.size {
		err = f.rotate()
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(f.path(0), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if info, err = file.Stat(); err != nil {
		file.Close()
		return err
	}
	f.file, f.at = file, info.Size()
	return f.endLine()
}

// endLine ends a line that a process has left unfinished.
func (f *File) endLine() error {
	if f.at == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := f.file.ReadAt(last, f.at-1); err != nil || last[0] == '\n' {
		return err
	}
	n, err := f.file.Write([]byte{'\n'})
	f.at += int64(n)
	return err
}

func (f *File) rotate() error {
	for n := f.files - 1; n > 0; n-- {
		if err := os.Rename(f.path(n-1), f.path(n)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if f.files == 1 {
		return os.Remove(f.path(0))
	}
	return nil
}

func (f *File) close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

// Close closes the file; a later record opens it again.
func (f *File) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.close()
}

// Read returns the newest records of a port, or of all with an empty id: at most limit, the oldest first.
func (f *File) Read(port string, limit int) ([]Record, error) {
	var all []Record
	for n := f.files - 1; n >= 0; n-- {
		file, err := os.Open(f.path(n))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the log of packets: %w", err)
		}
		all, err = read(file, port, limit, all)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("read the log of packets: %w", err)
		}
	}
	return all[max(0, len(all)-limit):], nil
}

func read(from io.Reader, port string, limit int, all []Record) ([]Record, error) {
	lines := bufio.NewReaderSize(from, maxLine)
	for {
		line, tooLong, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var r Record
		if tooLong || json.Unmarshal(line, &r) != nil || port != "" && r.Port != port {
			continue
		}
		if all = append(all, r); len(all) >= 2*limit {
			all = append(all[:0:0], all[len(all)-limit:]...)
		}
	}
}
