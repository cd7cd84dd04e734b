package reader

import "github.com/google/uuid"

// How the storage block of a compact extent follows from the previous extent of its layer.
const (
	compactFollows  = 0 // it begins where that one ended; the first one at 0
	compactDistance = 1 // storage block - guest block is as in that one; in the first one 0
	compactSkips    = 2 // as compactFollows, and a byte more: the number of blocks between

	compactRuleMask    = 3
	compactRuleBits    = 2
	compactStatedLayer = 63
	maxCompactExtents  = 1 << 27
)

// compactLayer is what the storage of a layer's next extent is derived from, modulo 2^32.
type compactLayer struct {
	next, distance uint32
}

// stated reads what extents state beside their two bytes. After a read past the end, short is true
// and all numbers are 0.
type stated struct {
	cursor
	short bool
}

func (s *stated) number(size int) uint32 {
	if size > len(s.data) {
		s.data, s.short = nil, true
		return 0
	}
	var value uint32
	for i, b := range s.bytes(size) {
		value |= uint32(b) << (8 * i)
	}
	return value
}

// storage returns the storage block of an extent that begins at start.
func (s *stated) storage(rule byte, layer compactLayer, start uint32) uint32 {
	switch rule {
	case compactFollows:
		return layer.next
	case compactDistance:
		return start + layer.distance
	case compactSkips:
		return layer.next + s.number(1)
	default:
		return s.number(4)
	}
}

// decodeCompactExtents reads extents in the compact form.
func decodeCompactExtents(section []byte, count uint32, blocks uint64, layers []uuid.UUID, layerBlocks []uint64) (*mapping, error) {
	builder, err := newMappingBuilder(blocks, layers)
	if err != nil {
		return nil, err
	}
	n := int(count)
	if count > maxCompactExtents || n > len(section)/2 {
		return nil, corrupt(NoOffset, "the header has %d extents in %d bytes; each has at least 2", count, len(section))
	}
	builder.mapping.runs = make([]run, 0, n)
	tags, lengths := section[:n], section[n:2*n]
	rest := &stated{cursor: cursor{section[2*n:]}}
	states := make([]compactLayer, len(layers)+1)
	var start uint64
	for i, tag := range tags {
		layer := uint32(tag) >> compactRuleBits
		if layer == compactStatedLayer {
			layer = rest.number(2)
		}
		if int(layer) > len(layers) {
			return nil, corrupt(NoOffset, "extent %d names layer %d of %d", i, layer, len(layers))
		}
		if layer == 0 && tag != 0 {
			return nil, corrupt(NoOffset, "extent %d is zeros but has tag %#x", i, tag)
		}
		var place uint32
		if layer != 0 {
			place = rest.storage(tag&compactRuleMask, states[layer], uint32(start))
		}
		length := uint32(lengths[i])
		if length == 0 {
			length = rest.number(4)
		}
		end := start + uint64(length)
		if err := builder.addBounded(i, start, end, uint64(place), uint16(layer), layerBlocks); err != nil {
			return nil, err
		}
		states[layer] = compactLayer{place + length, place - uint32(start)}
		start = end
	}
	if rest.short || len(rest.data) != 0 {
		return nil, corrupt(NoOffset, "the header's %d extents do not take %d bytes", count, len(section))
	}
	return builder.finish()
}
