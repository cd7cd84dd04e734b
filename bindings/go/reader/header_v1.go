package reader

import (
	"github.com/google/uuid"
)

const (
	v1FixedBytes    = 64
	v1RecordBytes   = 40
	v1MaxBlockBytes = 2 << 20
)

// recordV1 is one record of a header of version 1 or 3.
type recordV1 struct {
	offset, length, storage uint64
	id                      uuid.UUID
}

// boundsV1 are the limits of every record.
type boundsV1 struct {
	blockBytes, memoryBytes, roundedBytes uint64
}

func decodeHeaderV1(data []byte) (*Header, error) {
	if len(data) < v1FixedBytes || (len(data)-v1FixedBytes)%v1RecordBytes != 0 {
		return nil, corrupt(int64(len(data)), "the header has %d bytes; it must have %d and %d per extent", len(data), v1FixedBytes, v1RecordBytes)
	}
	c := &cursor{data}
	header := &Header{Format: FormatV1}
	if c.u64() == 3 {
		header.Format = FormatV3
	}
	bounds := boundsV1{blockBytes: c.u64(), memoryBytes: c.u64()}
	header.Generation = c.u64()
	header.BuildID = c.uuid()
	header.BaseBuildID = c.uuid()
	if err := bounds.check(); err != nil {
		return nil, err
	}
	if header.BuildID == uuid.Nil {
		return nil, corrupt(32, "the header's build id is nil")
	}
	header.MemoryBytes = int64(bounds.memoryBytes)

	records := make([]recordV1, len(c.data)/v1RecordBytes)
	for i := range records {
		records[i].offset = c.u64()
		records[i].length = c.u64()
		records[i].id = c.uuid()
		records[i].storage = c.u64()
	}
	if len(records) == 0 {
		records = []recordV1{{length: bounds.roundedBytes, id: header.BuildID}}
	}
	layers := layersV1(header, records)
	var err error
	if header.mapping, err = mapV1(records, layers, bounds); err != nil {
		return nil, err
	}
	header.Layers = make([]LayerEntry, len(layers))
	for i, id := range layers {
		header.Layers[i].BuildID = id
	}
	return header, nil
}

// check checks the fixed part and sets roundedBytes.
func (b *boundsV1) check() error {
	if b.blockBytes < BlockSize || b.blockBytes > v1MaxBlockBytes || b.blockBytes&(b.blockBytes-1) != 0 {
		return corrupt(8, "the header has block size %d; powers of two from %d to %d are supported", b.blockBytes, BlockSize, v1MaxBlockBytes)
	}
	const most = maxBlocks * BlockSize
	if b.memoryBytes == 0 || b.memoryBytes > most {
		return corrupt(16, "the header has memory size %d; 1 to %d bytes are supported", b.memoryBytes, uint64(most))
	}
	b.roundedBytes = (b.memoryBytes + b.blockBytes - 1) / b.blockBytes * b.blockBytes
	if b.roundedBytes > most {
		return corrupt(16, "the header has memory size %d; 1 to %d bytes are supported", b.memoryBytes, uint64(most))
	}
	return nil
}

// checkRecord checks one record; the one before ends at expected.
func (b *boundsV1) checkRecord(r recordV1, index int, expected uint64) error {
	at := int64(v1FixedBytes + index*v1RecordBytes)
	if r.offset != expected {
		return corrupt(at, "extent %d starts at %#x, but the one before ends at %#x", index, r.offset, expected)
	}
	// Happens if the record before ended at the memory size, within a block.
	if r.offset >= b.memoryBytes {
		return corrupt(at, "extent %d starts at %#x, past memory size %#x", index, r.offset, b.memoryBytes)
	}
	end := r.offset + r.length
	if r.length == 0 || end < r.offset || end > b.roundedBytes {
		return corrupt(at, "extent %d at %#x has length %#x; the memory has %#x bytes", index, r.offset, r.length, b.memoryBytes)
	}
	if end%b.blockBytes != 0 && end != b.memoryBytes {
		return corrupt(at, "extent %d has length %#x, not a multiple of block size %#x", index, r.length, b.blockBytes)
	}
	if r.id == uuid.Nil {
		return nil // zeros: the storage offset is unused
	}
	storageEnd := r.storage + r.length
	if r.storage%b.blockBytes != 0 || storageEnd < r.storage || storageEnd > maxBlocks*BlockSize {
		return corrupt(at, "extent %d has storage offset %#x: not a multiple of block size %#x, or too large", index, r.storage, b.blockBytes)
	}
	return nil
}

// layersV1 lists the layers: the base first, the own build last, the others by first appearance.
func layersV1(header *Header, records []recordV1) []uuid.UUID {
	seen := map[uuid.UUID]bool{uuid.Nil: true, header.BuildID: true}
	var layers []uuid.UUID
	add := func(id uuid.UUID) {
		if !seen[id] {
			seen[id] = true
			layers = append(layers, id)
		}
	}
	for _, r := range records {
		if r.id == header.BaseBuildID {
			add(r.id)
			break
		}
	}
	for _, r := range records {
		add(r.id)
	}
	return append(layers, header.BuildID)
}

func mapV1(records []recordV1, layers []uuid.UUID, bounds boundsV1) (*mapping, error) {
	blocks := blocksFor(bounds.memoryBytes)
	builder, err := newMappingBuilder(blocks, layers)
	if err != nil {
		return nil, err
	}
	index := make(map[uuid.UUID]uint16, len(layers)+1)
	for i, id := range layers {
		index[id] = uint16(i + 1)
	}
	expected := uint64(0)
	for i, r := range records {
		if err := bounds.checkRecord(r, i, expected); err != nil {
			return nil, err
		}
		expected = r.offset + r.length
		// With blocks larger than 4 KiB the last record may reach past the last block of 4 KiB.
		start, end := r.offset/BlockSize, blocksFor(expected)
		if end > blocks {
			end = blocks
		}
		layer, storage := index[r.id], uint64(0)
		if layer != 0 {
			storage = r.storage / BlockSize
		}
		if err := builder.add(i, start, end, storage, layer); err != nil {
			return nil, err
		}
	}
	if expected < bounds.memoryBytes {
		return nil, corrupt(NoOffset, "the extents end at %#x, before memory size %#x", expected, bounds.memoryBytes)
	}
	return builder.finish()
}
