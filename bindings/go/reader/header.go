package reader

import (
	"github.com/google/uuid"
)

// Format is the format of a header file.
type Format int

// The formats of headers. The words are those of lamina's reports.
const (
	FormatNative Format = iota + 1
	FormatV1
	FormatV3
)

// String returns "native", "v1" or "v3".
func (f Format) String() string {
	switch f {
	case FormatNative:
		return "native"
	case FormatV1:
		return "v1"
	case FormatV3:
		return "v3"
	}
	return "unknown"
}

// FileDigest is the size and the XXH3-128 of a file that belongs to the snapshot.
type FileDigest struct {
	Bytes  uint64
	Digest [16]byte
}

// LayerEntry is what a header says of one layer.
type LayerEntry struct {
	BuildID uuid.UUID
	// DataBytes is the length of the layer's data, or 0 if the header does not have it (versions
	// 1 and 3).
	DataBytes int64
	// HasChecksums: lamina wrote the layer, so its file must end with a trailer. Always false in
	// versions 1 and 3, which do not say it; snapshot.json does.
	HasChecksums bool
}

// Header is a decoded header: which layer contains which block of the guest's memory. Immutable: do
// not change its fields.
type Header struct {
	Format Format
	// PauseID is the guest state that was captured; nil in versions 1 and 3, which do not have it.
	PauseID uuid.UUID
	// BuildID is the youngest layer.
	BuildID uuid.UUID
	// BaseBuildID is the first layer that the chain ever had.
	BaseBuildID uuid.UUID
	// MemoryBytes is the size of the guest's memory.
	MemoryBytes int64
	// Generation is the number of layers minus 1; in versions 1 and 3, as stored.
	Generation uint64
	// VMState is size and digest of the file snapfile, or nil. Only native headers have it.
	VMState *FileDigest
	// Layers is the table of layers, oldest first. Versions 1 and 3 do not record the order: the
	// base, then the others as they first appear, then the youngest.
	Layers []LayerEntry

	mapping *mapping
}

// DecodeHeader decodes a header of any format and checks it. The errors are ErrCorrupt and
// ErrUnsupported; Error.Offset is the place in data.
func DecodeHeader(data []byte) (*Header, error) {
	if isNativeHeader(data) {
		return decodeNativeHeader(data)
	}
	if len(data) < 8 {
		return nil, corrupt(0, "the header has only %d bytes: it is truncated", len(data))
	}
	version := (&cursor{data}).u64()
	if version != 1 && version != 3 {
		return nil, unsupported(0, "the header begins with %#x, which is neither the native magic nor version 1 or 3", version)
	}
	return decodeHeaderV1(data)
}

// NumExtents is the number of extents. Together they cover the memory without gaps.
func (h *Header) NumExtents() int { return len(h.mapping.runs) }

// Extent returns extent i, in guest order. REQUIRES: 0 <= i < NumExtents().
func (h *Header) Extent(i int) Extent { return h.mapping.extent(i) }

// Find returns the index of the extent that contains a guest offset. ErrUsage: the offset is not
// inside the memory.
func (h *Header) Find(offset int64) (int, error) {
	if offset < 0 || offset >= h.MemoryBytes {
		return 0, usage("offset %#x is outside the memory of %#x bytes", offset, h.MemoryBytes)
	}
	return h.mapping.find(uint32(offset / BlockSize)), nil
}
