package reader

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"lamina/go/internal/xxh3"
)

// What lamina writes, for the tests: a second implementation of docs/format.md.

func le16(b []byte, v uint16) []byte { return append(b, byte(v), byte(v>>8)) }
func le32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func le64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

func pad(b []byte, n int) []byte { return append(b, make([]byte, n-len(b))...) }

// place is where the model has a block: in a layer (from 0), or zeros (-1).
type place struct {
	layer   int
	storage uint32
}

// modelLayer is a layer of the model: the guest blocks that it stores, with their contents.
type modelLayer struct {
	id      uuid.UUID
	layout  Layout
	legacy  bool
	blocks  []uint32
	content map[uint32][]byte
	zeros   []uint32
}

func (l *modelLayer) storage(i int) uint32 {
	if l.layout == LayoutAdopted {
		return l.blocks[i]
	}
	return uint32(i)
}

// model is a snapshot as plain arrays of blocks.
type model struct {
	memoryBytes int64
	pause       uuid.UUID
	layers      []*modelLayer
	places      []place
	memory      []byte
}

func randomID(r *rand.Rand) (id uuid.UUID) {
	r.Read(id[:])
	id[0] |= 1
	return id
}

// randomModel pauses a random number of times. Written zeros are zeros, whatever was there.
func randomModel(r *rand.Rand, legacy bool) *model {
	blocks := 1 + r.Intn(80)
	m := &model{memoryBytes: int64(blocks) * BlockSize, pause: randomID(r), places: make([]place, blocks), memory: make([]byte, blocks*BlockSize)}
	if r.Intn(2) == 0 {
		m.memoryBytes -= int64(r.Intn(BlockSize))
	}
	for i := range m.places {
		m.places[i].layer = -1
	}
	for generation := 0; generation <= r.Intn(5); generation++ {
		l := &modelLayer{id: randomID(r), layout: LayoutCompact, legacy: legacy, content: map[uint32][]byte{}}
		if !legacy && r.Intn(3) == 0 {
			l.layout = LayoutAdopted
		}
		for b := 0; b < blocks; b++ {
			at := m.memory[b*BlockSize : (b+1)*BlockSize]
			switch r.Intn(4) {
			case 0:
				r.Read(at)
				if end := int64(b+1) * BlockSize; end > m.memoryBytes {
					for i := BlockSize - int(end-m.memoryBytes); i < BlockSize; i++ {
						at[i] = 0
					}
				}
				l.blocks = append(l.blocks, uint32(b))
				l.content[uint32(b)] = append([]byte(nil), at...)
				m.places[b] = place{len(m.layers), l.storage(len(l.blocks) - 1)}
			case 1:
				copy(at, make([]byte, BlockSize))
				m.places[b] = place{layer: -1}
			}
			if m.places[b].layer < 0 {
				l.zeros = append(l.zeros, uint32(b))
			}
		}
		m.layers = append(m.layers, l)
	}
	m.memory = m.memory[:m.memoryBytes]
	return m
}

// runs joins consecutive blocks.
func runs(blocks []uint32) (joined []blockRun) {
	for _, b := range blocks {
		if n := len(joined); n > 0 && joined[n-1].first+joined[n-1].count == b {
			joined[n-1].count++
		} else {
			joined = append(joined, blockRun{b, 1})
		}
	}
	return joined
}

// file is the whole layer file.
func (m *model) layerFile(index int) []byte {
	l := m.layers[index]
	var data []byte
	if l.layout == LayoutAdopted {
		data = make([]byte, len(m.places)*BlockSize)
		for b, content := range l.content {
			copy(data[int(b)*BlockSize:], content)
		}
	} else {
		for _, b := range l.blocks {
			data = append(data, l.content[b]...)
		}
	}
	if l.legacy {
		return data
	}
	var lists, checksums []byte
	for _, older := range m.layers[:index] {
		lists = append(lists, older.id[:]...)
	}
	stored, zeros := runs(l.blocks), runs(l.zeros)
	for _, list := range [][]blockRun{stored, zeros} {
		for _, r := range list {
			lists = le32(le32(lists, r.first), r.count)
		}
	}
	for _, b := range l.blocks {
		checksums = le64(checksums, xxh3.Sum64(l.content[b]))
	}
	footer := le32(le32([]byte(trailerMagic), trailerVersion), footerBytes)
	footer = le64(footer, 0) // features
	footer = append(append(footer, l.id[:]...), m.pause[:]...)
	var parent uuid.UUID
	if index > 0 {
		parent = m.layers[index-1].id
	}
	footer = append(footer, parent[:]...)
	footer = le64(le64(footer, uint64(m.memoryBytes)), uint64(len(data)))
	footer = le64(footer, uint64(len(lists)+len(checksums)+footerBytes))
	footer = le32(le32(footer, BlockSize), uint32(l.layout))
	footer = le32(le32(footer, uint32(index)), 0)
	footer = le32(le32(footer, uint32(len(stored))), uint32(len(zeros)))
	footer = le64(le64(footer, uint64(len(l.blocks))), xxh3.Sum64(lists))
	footer = pad(le64(footer, xxh3.Sum64(checksums)), footerSumOffset)
	footer = le64(footer, xxh3.Sum64(footer))
	return append(append(append(data, lists...), checksums...), footer...)
}

// extents joins blocks that are adjacent in the guest and in storage.
func (m *model) extents() (list []Extent) {
	for b, p := range m.places {
		storage := int64(p.storage) * BlockSize
		if p.layer < 0 {
			storage = 0
		}
		if n := len(list); n > 0 {
			last := &list[n-1]
			if last.Layer == p.layer && (p.layer < 0 || last.StorageOffset+last.Length == storage) {
				last.Length += BlockSize
				continue
			}
		}
		list = append(list, Extent{int64(b) * BlockSize, BlockSize, p.layer, storage})
	}
	return list
}

func (m *model) youngest() uuid.UUID { return m.layers[len(m.layers)-1].id }

func (m *model) nativeHeader() []byte {
	var layers, starts, storage, indexes []byte
	for _, l := range m.layers {
		blocks := len(l.blocks)
		if l.layout == LayoutAdopted {
			blocks = len(m.places)
		}
		checksums := uint32(1)
		if l.legacy {
			checksums = 0
		}
		layers = le64(append(layers, l.id[:]...), uint64(blocks))
		layers = le32(le32(layers, checksums), 0)
	}
	extents := m.extents()
	for _, e := range extents {
		starts = le32(starts, uint32(e.Offset/BlockSize))
		storage = le32(storage, uint32(e.StorageOffset/BlockSize))
		indexes = le16(indexes, uint16(e.Layer+1))
	}
	columns := append(append(starts, storage...), indexes...)
	own, base := m.youngest(), m.layers[0].id
	fixed := le32(le32([]byte(nativeMagic), nativeVersion), nativeFixedBytes)
	fixed = le64(le64(fixed, uint64(nativeFixedBytes+len(layers)+len(columns))), 0)
	fixed = append(append(append(fixed, m.pause[:]...), own[:]...), base[:]...)
	fixed = le32(le32(le64(fixed, uint64(m.memoryBytes)), BlockSize), 0)
	fixed = le32(le32(fixed, uint32(len(m.layers))), uint32(len(extents)))
	fixed = pad(le64(le64(fixed, xxh3.Sum64(layers)), xxh3.Sum64(columns)), fixedChecksumOffset)
	fixed = le64(fixed, xxh3.Sum64(fixed))
	return append(append(fixed, layers...), columns...)
}

func (m *model) headerV1(version uint64) []byte {
	own, base := m.youngest(), m.layers[0].id
	header := le64(le64(le64(le64(nil, version), BlockSize), uint64(m.memoryBytes)), uint64(len(m.layers)-1))
	header = append(append(header, own[:]...), base[:]...)
	for _, e := range m.extents() {
		var id uuid.UUID
		if e.Layer >= 0 {
			id = m.layers[e.Layer].id
		}
		header = append(le64(le64(header, uint64(e.Offset)), uint64(e.Length)), id[:]...)
		header = le64(header, uint64(e.StorageOffset))
	}
	return header
}

func (m *model) facts(t testing.TB, format Format, header []byte) []byte {
	digest := xxh3.Sum128(header)
	var layers []map[string]interface{}
	for _, l := range m.layers {
		layers = append(layers, map[string]interface{}{"build_id": l.id.String(), "checksums": !l.legacy})
	}
	text, err := json.Marshal(map[string]interface{}{
		"version": 1, "pause_id": m.pause.String(), "build_id": m.youngest().String(), "created": "2026-12-01T00:00:00Z",
		"generation": len(m.layers) - 1, "memory_bytes": m.memoryBytes, "header_format": format.String(),
		"header": map[string]interface{}{"bytes": len(header), "xxh3_128": hex.EncodeToString(digest[:])},
		"layers": layers, "something new": []int{1},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func writeFile(t testing.TB, directory, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(directory, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// write makes the snapshot's directory.
func (m *model) write(t testing.TB, format Format, withFacts bool) string {
	t.Helper()
	directory := t.TempDir()
	header := m.nativeHeader()
	switch format {
	case FormatV1:
		header = m.headerV1(1)
	case FormatV3:
		header = m.headerV1(3)
	}
	writeFile(t, directory, headerName, header)
	if withFacts {
		writeFile(t, directory, factsName, m.facts(t, format, header))
	}
	for i, l := range m.layers {
		writeFile(t, directory, layerPrefix+l.id.String(), m.layerFile(i))
	}
	return directory
}
