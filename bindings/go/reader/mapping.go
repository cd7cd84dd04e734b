package reader

import (
	"sort"

	"github.com/google/uuid"
)

const (
	// BlockSize is the unit of everything: bytes of a block.
	BlockSize = 4096

	maxBlocks = 0xffff_ffff
	maxLayers = 0xfffe
)

// Zeros is Extent.Layer of an extent that is zeros and stored nowhere.
const Zeros = -1

// Extent is a run of guest memory that is stored in one piece, or is zeros. All numbers are bytes
// and multiples of BlockSize; the last extent may end past the memory size, at the end of its block.
type Extent struct {
	// Offset and Length are the place in the guest's memory.
	Offset, Length int64
	// Layer is the index of the layer in Header.Layers, or Zeros.
	Layer int
	// StorageOffset is the place in the layer's data; 0 for zeros.
	StorageOffset int64
}

// End is the first byte after the extent in the guest's memory.
func (e Extent) End() int64 { return e.Offset + e.Length }

// run is an extent in blocks. It ends where the next one starts. layer counts from 1; 0 is zeros.
type run struct {
	start, storage uint32
	layer          uint16
}

// mapping says for each block of the memory where it is stored. Immutable.
type mapping struct {
	blocks uint32
	layers []uuid.UUID
	runs   []run
}

func blocksFor(bytes uint64) uint64 {
	blocks := bytes / BlockSize
	if bytes%BlockSize != 0 {
		blocks++
	}
	return blocks
}

// end is the block after run i.
func (m *mapping) end(i int) uint32 {
	if i+1 < len(m.runs) {
		return m.runs[i+1].start
	}
	return m.blocks
}

// find returns the index of the run that has a block. REQUIRES: block < m.blocks.
func (m *mapping) find(block uint32) int {
	return sort.Search(len(m.runs), func(i int) bool { return m.runs[i].start > block }) - 1
}

func (m *mapping) extent(i int) Extent {
	r := m.runs[i]
	return Extent{
		Offset:        int64(r.start) * BlockSize,
		Length:        int64(m.end(i)-r.start) * BlockSize,
		Layer:         int(r.layer) - 1,
		StorageOffset: int64(r.storage) * BlockSize,
	}
}

// mappingBuilder takes the extents of a header in guest order, checks them, and joins those that are
// adjacent in the guest and in the storage of one layer.
type mappingBuilder struct {
	mapping mapping
	end     uint64 // of the extents so far, in blocks
}

// newMappingBuilder checks the size of the memory (1 to maxBlocks blocks) and the table of layers.
func newMappingBuilder(blocks uint64, layers []uuid.UUID) (*mappingBuilder, error) {
	if blocks == 0 || blocks > maxBlocks {
		return nil, corrupt(NoOffset, "the memory has %d blocks; 1 to %d are supported", blocks, uint64(maxBlocks))
	}
	if len(layers) > maxLayers {
		return nil, corrupt(NoOffset, "the header has %d layers; at most %d are supported", len(layers), maxLayers)
	}
	seen := make(map[uuid.UUID]bool, len(layers))
	for _, id := range layers {
		if id == uuid.Nil {
			return nil, corrupt(NoOffset, "a layer has the nil build id")
		}
		if seen[id] {
			return nil, corrupt(NoOffset, "layer %s is listed twice", id)
		}
		seen[id] = true
	}
	return &mappingBuilder{mapping: mapping{blocks: uint32(blocks), layers: layers}}, nil
}

// add appends extent number index: blocks [start, end) of the guest.
func (b *mappingBuilder) add(index int, start, end, storage uint64, layer uint16) error {
	switch {
	case start != b.end:
		return corrupt(NoOffset, "extent %d starts at %#x, but the one before ends at %#x", index, start*BlockSize, b.end*BlockSize)
	case end <= start:
		return corrupt(NoOffset, "extent %d at %#x is empty", index, start*BlockSize)
	case end > uint64(b.mapping.blocks):
		return corrupt(NoOffset, "extent %d ends at %#x, past the memory's end %#x", index, end*BlockSize, uint64(b.mapping.blocks)*BlockSize)
	case int(layer) > len(b.mapping.layers):
		return corrupt(NoOffset, "extent %d names layer %d of %d", index, layer, len(b.mapping.layers))
	case layer == 0 && storage != 0:
		return corrupt(NoOffset, "extent %d is zeros but has storage offset %#x", index, storage*BlockSize)
	case storage > maxBlocks || storage+(end-start) > maxBlocks:
		return corrupt(NoOffset, "extent %d has storage offset %#x, past what a layer can hold", index, storage*BlockSize)
	}
	b.end = end
	if n := len(b.mapping.runs); n > 0 {
		last := b.mapping.runs[n-1]
		if last.layer == layer && (layer == 0 || uint64(last.storage)+(start-uint64(last.start)) == storage) {
			return nil
		}
	}
	b.mapping.runs = append(b.mapping.runs, run{uint32(start), uint32(storage), layer})
	return nil
}

// addBounded is add for a header that says how many blocks of data each layer has.
func (b *mappingBuilder) addBounded(index int, start, end, storage uint64, layer uint16, layerBlocks []uint64) error {
	if err := b.add(index, start, end, storage, layer); err != nil {
		return err
	}
	if layer != 0 && storage+(end-start) > layerBlocks[layer-1] {
		return corrupt(NoOffset, "extent %d ends at %#x of layer %s, past its data's end %#x", index, (storage+(end-start))*BlockSize, b.mapping.layers[layer-1], layerBlocks[layer-1]*BlockSize)
	}
	return nil
}

func (b *mappingBuilder) finish() (*mapping, error) {
	if b.end != uint64(b.mapping.blocks) {
		return nil, corrupt(NoOffset, "the extents end at %#x, before the memory's end %#x", b.end*BlockSize, uint64(b.mapping.blocks)*BlockSize)
	}
	return &b.mapping, nil
}
