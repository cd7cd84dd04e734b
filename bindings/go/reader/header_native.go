package reader

import (
	"bytes"

	"github.com/google/uuid"

	"lamina/go/internal/xxh3"
)

const (
	nativeMagic          = "LAMINAHD"
	nativeVersion        = 1
	nativeFixedBytes     = 256
	nativeLayerBytes     = 32
	nativeExtentBytes    = 10
	nativeHasVMState     = 1
	nativeLayerHasChecks = 1
	nativeCompactExtents = 1 // incompatible feature: see header_compact.go
	fixedChecksumOffset  = nativeFixedBytes - 8
)

func isNativeHeader(data []byte) bool { return bytes.HasPrefix(data, []byte(nativeMagic)) }

// nativeFixed is the fixed part of a native header.
type nativeFixed struct {
	header                      Header
	memoryBytes                 uint64
	layerCount, extentCount     uint32
	layersDigest, extentsDigest uint64
	isCompact                   bool
}

// decodeNativeFixed also checks that the counts fit the length of data, so that what they count is
// there.
func decodeNativeFixed(data []byte) (*nativeFixed, error) {
	if len(data) < nativeFixedBytes {
		return nil, corrupt(int64(len(data)), "the header has %d bytes, fewer than its fixed part of %d", len(data), nativeFixedBytes)
	}
	c := &cursor{data[len(nativeMagic):nativeFixedBytes]}
	if version := c.u32(); version != nativeVersion {
		return nil, unsupported(8, "the header has native version %d; this package reads version %d", version, nativeVersion)
	}
	fixedBytes := c.u32()
	stored := (&cursor{data[fixedChecksumOffset:]}).u64()
	if fixedBytes != nativeFixedBytes || stored != xxh3.Sum64(data[:fixedChecksumOffset]) {
		return nil, corrupt(0, "the header's fixed part does not match its checksum")
	}
	fixed := &nativeFixed{header: Header{Format: FormatNative}}
	totalBytes := c.u64()
	features := c.u32()
	if unknown := features &^ nativeCompactExtents; unknown != 0 {
		return nil, unsupported(24, "the header needs features %#x that this package does not know", unknown)
	}
	fixed.isCompact = features&nativeCompactExtents != 0
	c.u32() // compatible features: ignored
	fixed.header.PauseID = c.uuid()
	fixed.header.BuildID = c.uuid()
	fixed.header.BaseBuildID = c.uuid()
	fixed.memoryBytes = c.u64()
	if blockBytes := c.u32(); blockBytes != BlockSize {
		return nil, corrupt(88, "the header has blocks of %d bytes; native headers have %d", blockBytes, BlockSize)
	}
	flags := c.u32()
	fixed.layerCount = c.u32()
	fixed.extentCount = c.u32()
	fixed.layersDigest = c.u64()
	fixed.extentsDigest = c.u64()
	vmstate := FileDigest{Bytes: c.u64()}
	copy(vmstate.Digest[:], c.bytes(len(vmstate.Digest)))
	if flags&nativeHasVMState != 0 {
		fixed.header.VMState = &vmstate
	}
	extentsBytes := uint64(fixed.extentCount) * nativeExtentBytes
	if fixed.isCompact {
		extentsBytes = c.u64()
		if extentsBytes > uint64(len(data)) {
			return nil, corrupt(144, "the header has %d bytes, and its extents %d", len(data), extentsBytes)
		}
	}
	expected := uint64(nativeFixedBytes) + uint64(fixed.layerCount)*nativeLayerBytes + extentsBytes
	if totalBytes != expected || uint64(len(data)) != expected {
		return nil, corrupt(16, "the header has %d bytes where its counts need %d", len(data), expected)
	}
	return fixed, nil
}

func decodeNativeHeader(data []byte) (*Header, error) {
	fixed, err := decodeNativeFixed(data)
	if err != nil {
		return nil, err
	}
	layersEnd := nativeFixedBytes + int(fixed.layerCount)*nativeLayerBytes
	if xxh3.Sum64(data[nativeFixedBytes:layersEnd]) != fixed.layersDigest {
		return nil, corrupt(nativeFixedBytes, "the header's table of layers does not match its checksum")
	}
	if xxh3.Sum64(data[layersEnd:]) != fixed.extentsDigest {
		return nil, corrupt(int64(layersEnd), "the header's extents do not match their checksum")
	}
	header := &fixed.header
	blocks := blocksFor(fixed.memoryBytes)
	if blocks == 0 || blocks > maxBlocks {
		return nil, corrupt(80, "the header has memory size %d; 1 to %d bytes are supported", fixed.memoryBytes, uint64(maxBlocks)*BlockSize)
	}
	header.MemoryBytes = int64(fixed.memoryBytes)

	ids := make([]uuid.UUID, fixed.layerCount)
	header.Layers = make([]LayerEntry, fixed.layerCount)
	layerBlocks := make([]uint64, fixed.layerCount)
	c := &cursor{data[nativeFixedBytes:layersEnd]}
	ownIsListed := false
	for i := range ids {
		ids[i] = c.uuid()
		layerBlocks[i] = c.u64()
		hasChecksums := c.u32()&nativeLayerHasChecks != 0
		c.u32()
		if layerBlocks[i] > maxBlocks {
			return nil, corrupt(int64(nativeFixedBytes+i*nativeLayerBytes), "layer %s has %d blocks of data", ids[i], layerBlocks[i])
		}
		header.Layers[i] = LayerEntry{ids[i], int64(layerBlocks[i]) * BlockSize, hasChecksums}
		ownIsListed = ownIsListed || ids[i] == header.BuildID
	}
	decodeExtents := decodeNativeExtents
	if fixed.isCompact {
		decodeExtents = decodeCompactExtents
	}
	if header.mapping, err = decodeExtents(data[layersEnd:], fixed.extentCount, blocks, ids, layerBlocks); err != nil {
		return nil, err
	}
	if !ownIsListed {
		return nil, corrupt(48, "the header's build id %s is not in its table of layers", header.BuildID)
	}
	header.Generation = uint64(fixed.layerCount) - 1
	return header, nil
}

// decodeNativeExtents reads the three columns. REQUIRES: section has count extents.
func decodeNativeExtents(section []byte, count uint32, blocks uint64, layers []uuid.UUID, layerBlocks []uint64) (*mapping, error) {
	builder, err := newMappingBuilder(blocks, layers)
	if err != nil {
		return nil, err
	}
	builder.mapping.runs = make([]run, 0, count)
	column := int(count) * 4
	starts, storage, indexes := &cursor{section[:column]}, &cursor{section[column : 2*column]}, &cursor{section[2*column:]}
	var start uint64
	if count > 0 {
		start = uint64(starts.u32())
	}
	for i := 0; i < int(count); i++ {
		end := blocks
		if i+1 < int(count) {
			end = uint64(starts.u32())
		}
		place, layer := uint64(storage.u32()), indexes.u16()
		if err := builder.addBounded(i, start, end, place, layer, layerBlocks); err != nil {
			return nil, err
		}
		start = end
	}
	return builder.finish()
}
