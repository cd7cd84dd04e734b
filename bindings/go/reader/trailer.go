package reader

import (
	"bytes"
	"sort"

	"github.com/google/uuid"

	"lamina/go/internal/xxh3"
)

const (
	trailerMagic    = "LAMINATR"
	trailerVersion  = 2
	footerBytes     = 256
	footerSumOffset = footerBytes - 8
	uuidBytes       = 16
	runBytes        = 8
)

// Layout says where a layer's data has its blocks.
type Layout int

// The layouts of a layer.
const (
	// LayoutCompact: the stored blocks back to back in guest order.
	LayoutCompact Layout = 1
	// LayoutAdopted: the memory file itself, each block at its guest offset.
	LayoutAdopted Layout = 2
)

// Run is a run of guest memory, in bytes; multiples of BlockSize.
type Run struct {
	Offset, Length int64
}

// Trailer is the decoded end of a layer file: what the layer stores, with checksums. Immutable: do
// not change its fields.
type Trailer struct {
	BuildID uuid.UUID
	// PauseID is the memory state that the layer was published with.
	PauseID uuid.UUID
	// Parent is the next older layer of that state, or nil.
	Parent      uuid.UUID
	MemoryBytes int64
	// DataBytes is the length of the data, which the trailer follows.
	DataBytes int64
	Layout    Layout
	// Chain is the other layers of that state, oldest first.
	Chain []uuid.UUID
	// Replaces is, for a merge, the layers whose blocks it took over.
	Replaces []uuid.UUID

	stored    []storedRun
	zeros     []blockRun
	checksums []uint64
}

// blockRun is a run of guest blocks.
type blockRun struct {
	first, count uint32
}

// storedRun is a run of guest blocks that the layer stores. Its checksums start at index.
type storedRun struct {
	blockRun
	storage, index uint32
}

// NumStored is the number of runs that the layer stores, NumZeros that of runs that were zero in the
// state it was published with.
func (t *Trailer) NumStored() int { return len(t.stored) }

// NumZeros is the number of runs of zeros.
func (t *Trailer) NumZeros() int { return len(t.zeros) }

// Stored returns run i of those that the layer stores, and its place in the data.
func (t *Trailer) Stored(i int) (guest Run, storageOffset int64) {
	s := t.stored[i]
	return s.bytes(), int64(s.storage) * BlockSize
}

// Zero returns run i of the zeros.
func (t *Trailer) Zero(i int) Run { return t.zeros[i].bytes() }

// StoredBlocks is the number of blocks with a checksum.
func (t *Trailer) StoredBlocks() int64 { return int64(len(t.checksums)) }

func (r blockRun) bytes() Run {
	return Run{int64(r.first) * BlockSize, int64(r.count) * BlockSize}
}

// footer is what the last 256 bytes of a layer file say. All sizes have been checked against the
// size of the file.
type footer struct {
	trailer                                       Trailer
	dataBlocks                                    uint64
	trailerBytes                                  uint64
	chain, replaces, extents, zeros               uint32
	checksums, listsDigest, checksumsDigest, list uint64
}

// decodeFooter returns nil without an error if the file does not end with a footer, which is so for
// layers that wrenn wrote. REQUIRES: len(data) == footerBytes.
func decodeFooter(data []byte, fileBytes uint64) (*footer, error) {
	if !bytes.HasPrefix(data, []byte(trailerMagic)) {
		return nil, nil
	}
	c := &cursor{data[len(trailerMagic):]}
	if version := c.u32(); version != trailerVersion {
		return nil, unsupported(NoOffset, "the trailer has version %d; this package reads version %d", version, trailerVersion)
	}
	size := c.u32()
	stored := (&cursor{data[footerSumOffset:]}).u64()
	if size != footerBytes || stored != xxh3.Sum64(data[:footerSumOffset]) {
		return nil, corrupt(NoOffset, "the trailer's footer does not match its checksum")
	}
	if features := c.u32(); features != 0 {
		return nil, unsupported(NoOffset, "the trailer needs features %#x that this package does not know", features)
	}
	c.u32() // compatible features: ignored
	f := &footer{}
	f.trailer.BuildID = c.uuid()
	f.trailer.PauseID = c.uuid()
	f.trailer.Parent = c.uuid()
	memoryBytes, dataBytes := c.u64(), c.u64()
	f.trailerBytes = c.u64()
	blockBytes, layout := c.u32(), c.u32()
	f.chain, f.replaces, f.extents, f.zeros = c.u32(), c.u32(), c.u32(), c.u32()
	f.checksums, f.listsDigest, f.checksumsDigest = c.u64(), c.u64(), c.u64()

	blocks := blocksFor(memoryBytes)
	switch {
	case blockBytes != BlockSize:
		return nil, corrupt(NoOffset, "the trailer has blocks of %d bytes, not %d", blockBytes, BlockSize)
	case layout != uint32(LayoutCompact) && layout != uint32(LayoutAdopted):
		return nil, unsupported(NoOffset, "the trailer has layout %d; this package knows 1 and 2", layout)
	case blocks == 0 || blocks > maxBlocks:
		return nil, corrupt(NoOffset, "the trailer has memory size %d", memoryBytes)
	case f.chain > maxLayers || f.replaces > maxLayers:
		return nil, corrupt(NoOffset, "the trailer names %d and %d layers; at most %d are supported", f.chain, f.replaces, maxLayers)
	case f.checksums > blocks:
		return nil, corrupt(NoOffset, "the trailer has %d stored blocks of %d", f.checksums, blocks)
	}
	f.list = (uint64(f.chain)+uint64(f.replaces))*uuidBytes + (uint64(f.extents)+uint64(f.zeros))*runBytes
	expected := footerBytes + f.list + f.checksums*8
	if f.trailerBytes != expected || dataBytes%BlockSize != 0 || fileBytes < expected || dataBytes != fileBytes-expected {
		return nil, corrupt(NoOffset, "the trailer describes %d bytes of data and %d of trailer; the file has %d bytes", dataBytes, expected, fileBytes)
	}
	f.dataBlocks = dataBytes / BlockSize
	if f.dataBlocks > maxBlocks {
		return nil, corrupt(NoOffset, "the trailer has %d blocks of data; at most %d are supported", f.dataBlocks, uint64(maxBlocks))
	}
	f.trailer.MemoryBytes, f.trailer.DataBytes, f.trailer.Layout = int64(memoryBytes), int64(dataBytes), Layout(layout)
	return f, nil
}

// DecodeTrailer decodes the trailer of a layer file of fileBytes bytes. data is the end of that
// file, the whole trailer or more. It returns nil without an error if the file has no trailer.
func DecodeTrailer(data []byte, fileBytes int64) (*Trailer, error) {
	if fileBytes < int64(len(data)) {
		return nil, usage("%d bytes of a file of %d", len(data), fileBytes)
	}
	if len(data) < footerBytes {
		return nil, nil
	}
	f, err := decodeFooter(data[len(data)-footerBytes:], uint64(fileBytes))
	if f == nil {
		return nil, err
	}
	if f.trailerBytes > uint64(len(data)) {
		return nil, corrupt(NoOffset, "the trailer has %d bytes, but only %d are here", f.trailerBytes, len(data))
	}
	return f.decode(data[uint64(len(data))-f.trailerBytes:])
}

// decode decodes the whole trailer. REQUIRES: len(data) == f.trailerBytes.
func (f *footer) decode(data []byte) (*Trailer, error) {
	lists, checksums := data[:f.list], data[f.list:f.trailerBytes-footerBytes]
	at := f.trailer.DataBytes
	if xxh3.Sum64(lists) != f.listsDigest {
		return nil, corrupt(at, "the trailer's lists do not match their checksum")
	}
	if xxh3.Sum64(checksums) != f.checksumsDigest {
		return nil, corrupt(at+int64(f.list), "the trailer's checksums do not match their checksum")
	}
	t := f.trailer
	c := &cursor{lists}
	t.Chain = c.uuids(f.chain)
	t.Replaces = c.uuids(f.replaces)
	t.stored = make([]storedRun, f.extents)
	blocks := blocksFor(uint64(t.MemoryBytes))
	var total, end uint64
	for i := range t.stored {
		s := &t.stored[i]
		s.blockRun = blockRun{c.u32(), c.u32()}
		if err := checkRun(s.blockRun, i, end, blocks, "extent"); err != nil {
			return nil, err
		}
		end = uint64(s.first) + uint64(s.count)
		s.index, s.storage = uint32(total), s.first
		if t.Layout == LayoutCompact {
			s.storage = s.index
		}
		total += uint64(s.count)
	}
	t.zeros = make([]blockRun, f.zeros)
	end = 0
	for i := range t.zeros {
		t.zeros[i] = blockRun{c.u32(), c.u32()}
		if err := checkRun(t.zeros[i], i, end, blocks, "zero extent"); err != nil {
			return nil, err
		}
		end = uint64(t.zeros[i].first) + uint64(t.zeros[i].count)
	}
	if err := t.checkApart(); err != nil {
		return nil, err
	}
	if total != f.checksums {
		return nil, corrupt(NoOffset, "the trailer has %d checksums for %d stored blocks", f.checksums, total)
	}
	needed := blocks
	if t.Layout == LayoutCompact {
		needed = total
	}
	if f.dataBlocks != needed {
		return nil, corrupt(NoOffset, "the layer has %d blocks of data where its trailer needs %d", f.dataBlocks, needed)
	}
	t.checksums = make([]uint64, f.checksums)
	c = &cursor{checksums}
	for i := range t.checksums {
		t.checksums[i] = c.u64()
	}
	return &t, nil
}

func (c *cursor) uuids(count uint32) []uuid.UUID {
	ids := make([]uuid.UUID, count)
	for i := range ids {
		ids[i] = c.uuid()
	}
	return ids
}

// checkRun checks that a run is not empty, inside the memory, and neither before nor adjacent to the
// one before, which ends at end. So an extent of a header lies inside one run.
func checkRun(r blockRun, index int, end, blocks uint64, what string) error {
	runEnd := uint64(r.first) + uint64(r.count)
	if r.count == 0 || (index > 0 && uint64(r.first) <= end) || runEnd > blocks {
		return corrupt(NoOffset, "%s %d of the trailer is [%#x, %#x): empty, out of order, touching or past the memory", what, index, uint64(r.first)*BlockSize, runEnd*BlockSize)
	}
	return nil
}

// checkApart checks that no block is both stored and zero. REQUIRES: both lists are in order.
func (t *Trailer) checkApart() error {
	i := 0
	for _, s := range t.stored {
		for i < len(t.zeros) && uint64(t.zeros[i].first)+uint64(t.zeros[i].count) <= uint64(s.first) {
			i++
		}
		if i < len(t.zeros) && uint64(t.zeros[i].first) < uint64(s.first)+uint64(s.count) {
			return corrupt(NoOffset, "blocks at %#x of the trailer are both stored and zero", int64(s.first)*BlockSize)
		}
	}
	return nil
}

// findStored returns the run that stores a guest block, or nil.
func (t *Trailer) findStored(guest uint32) *storedRun {
	after := sort.Search(len(t.stored), func(i int) bool { return t.stored[i].first > guest })
	return t.within(after-1, guest, false)
}

// findStorage returns the run that has a block of the data, or nil.
func (t *Trailer) findStorage(block uint32) *storedRun {
	after := sort.Search(len(t.stored), func(i int) bool { return t.stored[i].storage > block })
	return t.within(after-1, block, true)
}

func (t *Trailer) within(i int, block uint32, isStorage bool) *storedRun {
	if i < 0 {
		return nil
	}
	s := &t.stored[i]
	start := s.first
	if isStorage {
		start = s.storage
	}
	if block-start >= s.count {
		return nil
	}
	return s
}
