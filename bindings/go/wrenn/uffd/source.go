package uffd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/google/uuid"

	"lamina/go/wrenn/snapshot"
)

// MemorySource gives one page of guest memory: size bytes from offset. Implementations are safe for
// concurrent use. A source that also has a method Size() int64 bounds the regions of the VM.
type MemorySource interface {
	ReadPage(ctx context.Context, offset int64, size int64) ([]byte, error)
}

// rangeSource is a source that can read more than a page at once.
type rangeSource interface {
	readsRanges()
}

// maxRead bounds what is allocated for one read.
const maxRead = 64 << 20

// DiffFileSource reads pages by a header from the diff files. It is safe for concurrent use.
type DiffFileSource struct {
	header *snapshot.Header
	close  sync.Once
	files  map[uuid.UUID]*os.File
}

// NewDiffFileSource takes the header and the file of each build (by the build id's text form). It
// opens the files that the header refers to; the caller closes the source.
func NewDiffFileSource(header *snapshot.Header, diffFiles map[string]string) (*DiffFileSource, error) {
	if header == nil {
		return nil, errors.New("the header is nil")
	}
	s := &DiffFileSource{header: header, files: map[uuid.UUID]*os.File{}}
	for _, record := range header.Mapping {
		if record.BuildID == uuid.Nil || s.files[record.BuildID] != nil {
			continue
		}
		path, ok := diffFiles[record.BuildID.String()]
		if !ok {
			s.Close()
			return nil, fmt.Errorf("no diff file for build %s, which the header refers to at %#x", record.BuildID, record.Offset)
		}
		file, err := os.Open(path)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("open diff of build %s: %w", record.BuildID, err)
		}
		s.files[record.BuildID] = file
	}
	return s, nil
}

// Size is the size of the guest's memory in bytes.
func (s *DiffFileSource) Size() int64 { return int64(s.header.Metadata.Size) }

func (s *DiffFileSource) readsRanges() {}

// ReadPage reads size bytes from offset, of any alignment and across records. What is past the end of
// the memory is zeros.
func (s *DiffFileSource) ReadPage(ctx context.Context, offset, size int64) ([]byte, error) {
	if err := checkRange(offset, size, s.Size()); err != nil {
		return nil, err
	}
	page := make([]byte, size)
	end := offset + size
	if end > s.Size() {
		end = s.Size()
	}
	for at := offset; at < end; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		place, left, build, err := s.header.GetShiftedMapping(ctx, at)
		if err != nil {
			return nil, err
		}
		// place is that of the block that contains at.
		inBlock := at % int64(s.header.Metadata.BlockSize)
		left -= inBlock
		if left > end-at {
			left = end - at
		}
		if left <= 0 {
			return nil, fmt.Errorf("the header has no record for offset %#x", at)
		}
		if *build != uuid.Nil {
			file := s.files[*build]
			if file == nil {
				return nil, fmt.Errorf("no diff file for build %s", build)
			}
			if n, err := file.ReadAt(page[at-offset:at-offset+left], place+inBlock); int64(n) < left {
				if err == io.EOF {
					err = fmt.Errorf("'%s' ends at %#x, before %#x: it is truncated", file.Name(), place+inBlock+int64(n), place+inBlock+left)
				}
				return nil, err
			}
		}
		at += left
	}
	return page, nil
}

// Close closes the files. Reads that follow fail.
func (s *DiffFileSource) Close() error {
	var first error
	s.close.Do(func() {
		for _, file := range s.files {
			if err := file.Close(); err != nil && first == nil {
				first = err
			}
		}
	})
	return first
}

// readerSource reads from an io.ReaderAt.
type readerSource struct {
	reader io.ReaderAt
	size   int64
}

// NewReaderSource serves memory of size bytes from a reader, for example a *reader.Snapshot of package
// lamina/go/reader, which checks every block.
func NewReaderSource(reader io.ReaderAt, size int64) MemorySource {
	return &readerSource{reader, size}
}

func (s *readerSource) Size() int64  { return s.size }
func (s *readerSource) readsRanges() {}

func (s *readerSource) ReadPage(ctx context.Context, offset, size int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkRange(offset, size, s.size); err != nil {
		return nil, err
	}
	page := make([]byte, size)
	wanted := page
	if left := s.size - offset; left < size {
		wanted = page[:left]
	}
	if n, err := s.reader.ReadAt(wanted, offset); n < len(wanted) {
		return nil, err
	}
	return page, nil
}

func checkRange(offset, size, memory int64) error {
	if offset < 0 || size <= 0 || size > maxRead || offset >= memory {
		return fmt.Errorf("[%#x, +%#x) is outside the memory of %#x bytes", offset, size, memory)
	}
	return nil
}
