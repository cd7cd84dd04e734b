package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

var zeroBlock = make([]byte, DefaultBlockSize)

// isZero is true if all bytes are 0.
func isZero(data []byte) bool {
	for len(data) > len(zeroBlock) {
		if !bytes.Equal(data[:len(zeroBlock)], zeroBlock) {
			return false
		}
		data = data[len(zeroBlock):]
	}
	return bytes.Equal(data, zeroBlock[:len(data)])
}

// readSpan reads a range in pieces of at most ioBytes. The file must not end inside.
func readSpan(file *os.File, s span, use func(offset int64, data []byte) error) error {
	length := s.to - s.from
	if length > ioBytes {
		length = ioBytes
	}
	buffer := make([]byte, length)
	for offset := s.from; offset < s.to; {
		part := buffer
		if left := s.to - offset; left < int64(len(part)) {
			part = part[:left]
		}
		if n, err := file.ReadAt(part, offset); n < len(part) {
			if err == io.EOF {
				err = fmt.Errorf("it ends at %#x: it changed while it was read", offset+int64(n))
			}
			return err
		}
		if err := use(offset, part); err != nil {
			return err
		}
		offset += int64(len(part))
	}
	return nil
}

// openMemfile opens a memory file of the VMM.
func openMemfile(path string) (*os.File, int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("open memory file: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a file")
	}
	if err == nil && (info.Size() == 0 || info.Size() > maxSize-maxBlockSize) {
		err = fmt.Errorf("it has %d bytes: it is not the memory of a VM", info.Size())
	}
	if err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("memory file '%s': %w", path, err)
	}
	return file, info.Size(), nil
}

// diffWriter writes blocks into a compact diff file and keeps their mapping.
type diffWriter struct {
	out     *newFile
	buildID uuid.UUID
	runs    []*BuildMap
	storage uint64
}

// add appends the block at a guest offset: data (padded to a block), or zeros for nil.
func (w *diffWriter) add(offset int64, data []byte) error {
	record := &BuildMap{Offset: uint64(offset), Length: uint64(DefaultBlockSize)}
	if data != nil {
		record.BuildID, record.BuildStorageOffset = w.buildID, w.storage
		w.storage += uint64(DefaultBlockSize)
		if _, err := w.out.Write(data); err != nil {
			return err
		}
		if _, err := w.out.Write(zeroBlock[len(data):]); err != nil {
			return err
		}
	}
	if n := len(w.runs); n > 0 && w.runs[n-1].continues(record) {
		w.runs[n-1].Length += record.Length
	} else {
		w.runs = append(w.runs, record)
	}
	return nil
}

// wholeBlocks extends ranges to whole blocks, cut at size.
func wholeBlocks(list []span, size int64) (blocks []span) {
	for _, s := range list {
		from := s.from / DefaultBlockSize * DefaultBlockSize
		to := TotalBlocks(s.to, DefaultBlockSize) * DefaultBlockSize
		if n := len(blocks); n > 0 && from < blocks[n-1].to {
			from = blocks[n-1].to
		}
		blocks = addSpan(blocks, from, to, size)
	}
	return blocks
}

// scan calls use for each block of the ranges; data is nil for a block of zeros.
func scan(file *os.File, ranges []span, use func(offset int64, data []byte) error) error {
	for _, s := range ranges {
		err := readSpan(file, s, func(offset int64, data []byte) error {
			for len(data) > 0 {
				block := data
				if len(block) > int(DefaultBlockSize) {
					block = block[:DefaultBlockSize]
				}
				data = data[len(block):]
				given := block
				if isZero(block) {
					given = nil
				}
				if err := use(offset, given); err != nil {
					return err
				}
				offset += DefaultBlockSize
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ProcessMemfile makes a first generation of a full memory file: a compact diff file with the blocks
// that are not zeros (the last one padded with zeros), and its header. The memory file stays. Both
// outputs are created or replaced, the header last; after an error neither has changed, unless the
// message says that a directory could not be synced.
func ProcessMemfile(memfilePath, diffPath, headerPath string, buildID uuid.UUID) (*Header, error) {
	if buildID == uuid.Nil {
		return nil, errors.New("the build id is nil, which means zeros: give the diff an id of its own")
	}
	src, size, err := openMemfile(memfilePath)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	data, err := dataSpans(src, size)
	if err != nil {
		return nil, fmt.Errorf("memory file '%s': read its holes: %w", memfilePath, err)
	}
	w, err := newDiffWriter(src, diffPath, headerPath, buildID)
	if err != nil {
		return nil, err
	}
	defer w.out.discard()
	// Zeros and holes lie between the blocks of data.
	if err := scan(src, wholeBlocks(data, size), func(offset int64, block []byte) error {
		if block == nil {
			return nil
		}
		return w.add(offset, block)
	}); err != nil {
		return nil, fmt.Errorf("memory file '%s' into diff '%s': %w", memfilePath, diffPath, err)
	}
	all := []*BuildMap{{Length: uint64(TotalBlocks(size, DefaultBlockSize) * DefaultBlockSize)}}
	return w.finish(NewMetadata(buildID, uint64(DefaultBlockSize), uint64(size)), MergeMappings(all, w.runs), headerPath)
}

func newDiffWriter(src *os.File, diffPath, headerPath string, buildID uuid.UUID) (*diffWriter, error) {
	for _, output := range []string{diffPath, headerPath} {
		if err := refuseSameFile(src, output, "output"); err != nil {
			return nil, err
		}
	}
	out, err := createNew(diffPath)
	if err != nil {
		return nil, fmt.Errorf("create diff '%s': %w", diffPath, err)
	}
	return &diffWriter{out: out, buildID: buildID}, nil
}

// finish makes the header and publishes both files.
func (w *diffWriter) finish(metadata *Metadata, mapping []*BuildMap, headerPath string) (*Header, error) {
	header, err := NewHeader(metadata, NormalizeMappings(mapping))
	if err != nil {
		return nil, fmt.Errorf("make header '%s': %w", headerPath, err)
	}
	if err := publishBoth(w.out, header, headerPath); err != nil {
		return nil, err
	}
	return header, nil
}

// ProcessMemfileWithParent makes the next generation of a diff memory file of the VMM: a compact diff
// file and a header. A hole is as in the parent; a written block replaces the parent's, zeros too (see
// DiffZeros). The parent is not changed, and headerPath may be its file. Errors are as those of
// ProcessMemfile. With ZerosWritten it is also an error if the file system of the memory file does not
// tell written pages from others.
func ProcessMemfileWithParent(memfilePath, diffPath, headerPath string, parentHeader *Header, buildID uuid.UUID) (*Header, error) {
	if err := checkNewBuild(parentHeader, buildID); err != nil {
		return nil, err
	}
	src, size, err := openMemfile(memfilePath)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if uint64(size) != parentHeader.Metadata.Size {
		return nil, fmt.Errorf("memory file '%s' has %d bytes, the parent's memory %d: it is a diff of another VM", memfilePath, size, parentHeader.Metadata.Size)
	}
	if err := refuseFileOfParent(parentHeader, diffPath); err != nil {
		return nil, err
	}
	zeros := DiffZeros
	written, err := writtenSpans(src, memfilePath, size, zeros)
	if err != nil {
		return nil, err
	}
	w, err := newDiffWriter(src, diffPath, headerPath, buildID)
	if err != nil {
		return nil, err
	}
	defer w.out.discard()
	if err := scan(src, wholeBlocks(written, size), func(offset int64, block []byte) error {
		if block == nil && zeros == ZerosInherit {
			return nil
		}
		return w.add(offset, block)
	}); err != nil {
		return nil, fmt.Errorf("memory file '%s' into diff '%s': %w", memfilePath, diffPath, err)
	}
	metadata := parentHeader.Metadata.NextGeneration(buildID)
	// The records of the diff are of 4 KiB; those of the parent fit too.
	metadata.BlockSize = uint64(DefaultBlockSize)
	return w.finish(metadata, MergeMappings(parentHeader.Mapping, w.runs), headerPath)
}

func checkNewBuild(parent *Header, buildID uuid.UUID) error {
	if parent == nil || parent.Metadata == nil {
		return errors.New("the parent's header is nil")
	}
	if buildID == uuid.Nil {
		return errors.New("the build id is nil, which means zeros: give the diff an id of its own")
	}
	if _, err := NewHeader(parent.Metadata, parent.Mapping); err != nil {
		return fmt.Errorf("parent: %w", err)
	}
	taken := parent.Metadata.BuildID == buildID
	for _, r := range parent.Mapping {
		taken = taken || r.BuildID == buildID
	}
	if taken {
		return fmt.Errorf("build id %s is one of the parent's: give the diff an id of its own", buildID)
	}
	return nil
}

// writtenSpans returns what the VMM wrote.
func writtenSpans(src *os.File, path string, size int64, zeros ZeroMeaning) ([]span, error) {
	if zeros == ZerosInherit {
		data, err := dataSpans(src, size)
		if err != nil {
			return nil, fmt.Errorf("memory file '%s': read its holes: %w", path, err)
		}
		return data, nil
	}
	directory := filepath.Dir(path)
	p, err := probeHoles(directory, size)
	if err != nil {
		return nil, fmt.Errorf("test the holes of files in '%s': %w", directory, err)
	}
	if p.device != deviceOf(src) {
		return nil, fmt.Errorf("memory file '%s' is in another file system than its directory, so its holes cannot be tested: have the VMM write it into a directory", path)
	}
	if !p.exact {
		return nil, fmt.Errorf("the holes of '%s' cannot be trusted: of %d bytes that were written in its directory, %d count as written; have the VMM write a full memory file, or the diff to a file system that tracks pages of 4 KiB", path, probeWritten, p.reported)
	}
	m, err := mapFile(src, size)
	if err != nil {
		return nil, fmt.Errorf("memory file '%s': %w", path, err)
	}
	if !p.exactIfPreallocated && (m.hasPreallocated || !m.preallocatedIsKnown) {
		return nil, fmt.Errorf("memory file '%s' may have preallocated storage, which its file system does not tell from written zeros: have the VMM write the diff to a new file", path)
	}
	return m.written, nil
}
