package snapshot

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"
)

// MergeDiffs makes one diff file of all that the header refers to, and a header of generation 0 with a
// new random build id. diffFiles maps build ids in their text form to paths; it may have more than the
// header needs. The sources stay. headerPath may be the file that the header came from: it is replaced
// last, and only if all has worked. mergedDiffPath may not be a source.
func MergeDiffs(header *Header, diffFiles map[string]string, mergedDiffPath, headerPath string) (*Header, error) {
	if header == nil || header.Metadata == nil {
		return nil, errors.New("the header is nil")
	}
	if _, err := NewHeader(header.Metadata, header.Mapping); err != nil {
		return nil, err
	}
	sources, err := openSources(header, diffFiles)
	defer func() {
		for _, source := range sources {
			source.file.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	for _, source := range sources {
		for _, output := range []string{mergedDiffPath, headerPath} {
			if err := refuseSameFile(source.file, output, "output"); err != nil {
				return nil, err
			}
		}
	}
	out, err := createNew(mergedDiffPath)
	if err != nil {
		return nil, fmt.Errorf("create diff '%s': %w", mergedDiffPath, err)
	}
	defer out.discard()
	blockSize := header.Metadata.BlockSize
	buildID := uuid.New()
	var mapping []*BuildMap
	storage := uint64(0)
	buffer := make([]byte, ioBytes)
	for _, r := range header.Mapping {
		length := (r.Length + blockSize - 1) / blockSize * blockSize // of the last one
		record := &BuildMap{Offset: r.Offset, Length: length}
		if r.BuildID != uuid.Nil {
			source := sources[r.BuildID]
			if err := source.copyTo(out, buffer, int64(r.BuildStorageOffset), int64(length)); err != nil {
				return nil, fmt.Errorf("merge '%s' into '%s': %w", source.path, mergedDiffPath, err)
			}
			record.BuildID, record.BuildStorageOffset = buildID, storage
			storage += length
		}
		mapping = append(mapping, record)
	}
	merged, err := NewHeader(NewMetadata(buildID, blockSize, header.Metadata.Size), NormalizeMappings(mapping))
	if err != nil {
		return nil, fmt.Errorf("make header '%s': %w", headerPath, err)
	}
	if err := publishBoth(out, merged, headerPath); err != nil {
		return nil, err
	}
	return merged, nil
}

// mergeSource is an open diff file.
type mergeSource struct {
	path string
	file *os.File
}

// openSources opens the files that the header refers to. What is in the result must be closed, also
// after an error.
func openSources(header *Header, diffFiles map[string]string) (map[uuid.UUID]*mergeSource, error) {
	sources := map[uuid.UUID]*mergeSource{}
	for _, r := range header.Mapping {
		if r.BuildID == uuid.Nil || sources[r.BuildID] != nil {
			continue
		}
		path, ok := diffFiles[r.BuildID.String()]
		if !ok {
			return sources, fmt.Errorf("no diff file for build %s, which the header refers to at %#x", r.BuildID, r.Offset)
		}
		file, err := os.Open(path)
		if err != nil {
			return sources, fmt.Errorf("open diff of build %s: %w", r.BuildID, err)
		}
		sources[r.BuildID] = &mergeSource{path, file}
	}
	return sources, nil
}

// copyTo copies [offset, offset+length) of the source, which must be there: diffs consist of whole
// blocks, so one that ends inside a block is truncated.
func (s *mergeSource) copyTo(out io.Writer, buffer []byte, offset, length int64) error {
	for end := offset + length; offset < end; {
		part := buffer
		if left := end - offset; left < int64(len(part)) {
			part = part[:left]
		}
		n, err := s.file.ReadAt(part, offset)
		if n < len(part) {
			if err == io.EOF {
				err = fmt.Errorf("it ends at %#x, before %#x: it is truncated", offset+int64(n), end)
			}
			return err
		}
		if _, err := out.Write(part); err != nil {
			return err
		}
		offset += int64(n)
	}
	return nil
}
