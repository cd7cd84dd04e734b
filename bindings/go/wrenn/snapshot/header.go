package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/google/uuid"
)

const (
	metadataBytes = 64
	recordBytes   = 40
	maxBlockSize  = 2 << 20
	// maxSize is 2^32 - 1 blocks of 4 KiB, the limit of lamina.
	maxSize = 0xffff_ffff * 4096
)

// Metadata is the fixed part of a header.
type Metadata struct {
	// Version is 1. Another system writes the same layout with version 3.
	Version   uint64
	BlockSize uint64
	// Size is the guest's memory in bytes.
	Size uint64
	// Generation counts the diffs since the last full memory file or merge.
	Generation uint64
	// BuildID is the youngest diff file, BaseBuildID the first one of the chain.
	BuildID, BaseBuildID uuid.UUID
}

// NewMetadata returns the metadata of a first generation.
func NewMetadata(buildID uuid.UUID, blockSize, size uint64) *Metadata {
	return &Metadata{Version: 1, BlockSize: blockSize, Size: size, BuildID: buildID, BaseBuildID: buildID}
}

// NextGeneration returns the metadata of a diff over m, which it does not change.
func (m *Metadata) NextGeneration(buildID uuid.UUID) *Metadata {
	next := *m
	next.Generation++
	next.BuildID = buildID
	return &next
}

// Header says which diff file contains which block of the guest's memory. NewHeader and Deserialize
// make it; it must not be changed while others read it.
type Header struct {
	Metadata *Metadata
	// Mapping is sorted and covers the memory.
	Mapping []*BuildMap
}

// NewHeader checks metadata and mapping. Without a mapping, all of the memory is at offset 0 of the
// own build. The last record may end at the memory size or at the end of its block.
func NewHeader(metadata *Metadata, mapping []*BuildMap) (*Header, error) {
	if metadata == nil {
		return nil, errors.New("the header has no metadata")
	}
	m := metadata
	if m.BlockSize < uint64(DefaultBlockSize) || m.BlockSize > maxBlockSize || m.BlockSize&(m.BlockSize-1) != 0 {
		return nil, fmt.Errorf("the header has block size %d; powers of two from %d to %d are supported", m.BlockSize, DefaultBlockSize, maxBlockSize)
	}
	if m.Size == 0 || m.Size > maxSize-m.BlockSize {
		return nil, fmt.Errorf("the header has memory size %d; 1 to %d bytes are supported", m.Size, maxSize-m.BlockSize)
	}
	if len(mapping) == 0 {
		mapping = []*BuildMap{{Length: m.Size, BuildID: m.BuildID}}
	}
	next := uint64(0)
	for i, r := range mapping {
		if err := m.checkRecord(r, next); err != nil {
			return nil, fmt.Errorf("the header's record %d %w", i, err)
		}
		next = r.end()
	}
	if next < m.Size {
		return nil, fmt.Errorf("the header's records end at %#x, before memory size %#x", next, m.Size)
	}
	return &Header{Metadata: metadata, Mapping: mapping}, nil
}

// checkRecord checks one record; the one before ends at next. All numbers are below 2^63 afterwards.
func (m *Metadata) checkRecord(r *BuildMap, next uint64) error {
	if r == nil {
		return errors.New("is nil")
	}
	rounded := (m.Size + m.BlockSize - 1) / m.BlockSize * m.BlockSize
	switch {
	case r.Offset != next:
		return fmt.Errorf("starts at %#x, but the one before ends at %#x", r.Offset, next)
	case r.Offset >= m.Size:
		return fmt.Errorf("starts at %#x, past memory size %#x", r.Offset, m.Size)
	case r.Length == 0 || r.Length > rounded || r.end() > rounded:
		return fmt.Errorf("at %#x has length %#x, past memory size %#x or empty", r.Offset, r.Length, m.Size)
	case r.end()%m.BlockSize != 0 && r.end() != m.Size:
		return fmt.Errorf("at %#x has length %#x, not a multiple of block size %#x", r.Offset, r.Length, m.BlockSize)
	case r.BuildID == uuid.Nil:
		return nil
	case r.BuildStorageOffset%m.BlockSize != 0 || r.BuildStorageOffset > maxSize:
		return fmt.Errorf("at %#x has storage offset %#x, not a multiple of block size %#x or too large", r.Offset, r.BuildStorageOffset, m.BlockSize)
	}
	return nil
}

// find returns the record that contains an offset, or nil.
func (h *Header) find(offset uint64) *BuildMap {
	after := sort.Search(len(h.Mapping), func(i int) bool { return h.Mapping[i].Offset > offset })
	if after == 0 || offset >= h.Mapping[after-1].end() {
		return nil
	}
	return h.Mapping[after-1]
}

// GetShiftedMapping finds the block that contains a guest offset: its offset in the diff file of
// buildID, and how many bytes of its record are left from there (which may end past the memory size,
// at the end of its block). uuid.Nil means zeros. An offset outside [0, Size) is an error. Safe for
// concurrent use.
func (h *Header) GetShiftedMapping(_ context.Context, offset int64) (mappedOffset, mappedLength int64, buildID *uuid.UUID, err error) {
	if offset < 0 || uint64(offset) >= h.Metadata.Size {
		return 0, 0, nil, fmt.Errorf("offset %#x is outside the memory of %#x bytes", offset, h.Metadata.Size)
	}
	start := uint64(offset) / h.Metadata.BlockSize * h.Metadata.BlockSize
	r := h.find(start)
	if r == nil {
		return 0, 0, nil, fmt.Errorf("no record of the header contains offset %#x", offset)
	}
	id := r.BuildID
	if id != uuid.Nil {
		mappedOffset = int64(r.BuildStorageOffset + (start - r.Offset))
	}
	return mappedOffset, int64(r.end() - start), &id, nil
}

// Serialize returns the bytes of a header file. It writes any record as it is.
func Serialize(metadata *Metadata, mapping []*BuildMap) ([]byte, error) {
	if metadata == nil {
		return nil, errors.New("the header has no metadata")
	}
	data := make([]byte, 0, metadataBytes+recordBytes*len(mapping))
	for _, field := range []uint64{metadata.Version, metadata.BlockSize, metadata.Size, metadata.Generation} {
		data = binary.LittleEndian.AppendUint64(data, field)
	}
	data = append(append(data, metadata.BuildID[:]...), metadata.BaseBuildID[:]...)
	for i, r := range mapping {
		if r == nil {
			return nil, fmt.Errorf("the header's record %d is nil", i)
		}
		data = binary.LittleEndian.AppendUint64(data, r.Offset)
		data = binary.LittleEndian.AppendUint64(data, r.Length)
		data = append(data, r.BuildID[:]...)
		data = binary.LittleEndian.AppendUint64(data, r.BuildStorageOffset)
	}
	return data, nil
}

// Deserialize decodes and checks a header file of version 1 or 3.
func Deserialize(data []byte) (*Header, error) {
	if len(data) < metadataBytes || (len(data)-metadataBytes)%recordBytes != 0 {
		return nil, fmt.Errorf("the header has %d bytes; it must have %d and %d for each record: it is truncated", len(data), metadataBytes, recordBytes)
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(data[at:]) }
	m := &Metadata{Version: u64(0), BlockSize: u64(8), Size: u64(16), Generation: u64(24)}
	copy(m.BuildID[:], data[32:])
	copy(m.BaseBuildID[:], data[48:])
	if m.Version != 1 && m.Version != 3 {
		return nil, fmt.Errorf("the header has version %d; this package reads 1 and 3", m.Version)
	}
	if m.BuildID == uuid.Nil {
		return nil, errors.New("the header's build id is nil")
	}
	count := (len(data) - metadataBytes) / recordBytes
	records := make([]BuildMap, count)
	mapping := make([]*BuildMap, count)
	for i := range records {
		at := metadataBytes + i*recordBytes
		records[i] = BuildMap{Offset: u64(at), Length: u64(at + 8), BuildStorageOffset: u64(at + 32)}
		copy(records[i].BuildID[:], data[at+16:])
		mapping[i] = &records[i]
	}
	return NewHeader(m, mapping)
}
