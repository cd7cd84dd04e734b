package reader

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"lamina/go/internal/xxh3"
)

// Golden files of the C++ code.
const testData = "../../../tests/data"

func golden(t testing.TB, name string) []byte {
	t.Helper()
	if _, err := os.Stat(testData); os.IsNotExist(err) {
		t.Skip("the tests of lamina are not here: the module was copied")
	}
	data, err := os.ReadFile(filepath.Join(testData, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The worked example of docs/format.md.
var (
	goldenBase  = uuid.MustParse("11111111-1111-4111-8111-111111111111")
	goldenDiff  = uuid.MustParse("22222222-2222-4222-8222-222222222222")
	goldenPause = uuid.MustParse("33333333-3333-4333-8333-333333333333")
)

func TestTheGoldenNativeHeader(t *testing.T) {
	for _, name := range []string{"header_native_v1.bin", "header_native_compact_v1.bin"} {
		t.Run(name, func(t *testing.T) { checkWorkedExample(t, name) })
	}
}

// Each rule for a storage block, each way to state a layer and a length.
func TestEveryKindOfCompactExtent(t *testing.T) {
	data := golden(t, "header_native_compact_kinds_v1.bin")
	h, err := DecodeHeader(data)
	if err != nil {
		t.Fatal(err)
	}
	want := []Extent{{0, 10, 0, 0}, {10, 300, Zeros, 0}, {310, 255, 1, 310}, {565, 5, 0, 10}, {570, 30, 1, 570}, {600, 256, 0, 20}, {856, 1, 61, 90_000}, {857, 1, 62, 255}, {858, 2, 69, 256}, {860, 1140, 69, 0}}
	if h.NumExtents() != len(want) {
		t.Fatalf("%d extents", h.NumExtents())
	}
	for i, e := range want {
		e.Offset, e.Length, e.StorageOffset = e.Offset*BlockSize, e.Length*BlockSize, e.StorageOffset*BlockSize
		if h.Extent(i) != e {
			t.Errorf("extent %d is %+v, want %+v", i, h.Extent(i), e)
		}
	}
	for n := range data {
		if _, err := DecodeHeader(data[:n]); err == nil {
			t.Fatalf("truncated to %d bytes: accepted", n)
		}
		flipped := append([]byte{}, data...)
		flipped[n] ^= 1 << (n % 8)
		if _, err := DecodeHeader(flipped); err == nil {
			t.Fatalf("byte %d flipped: accepted", n)
		}
	}
}

// Behind a right checksum, that is: from a program with a fault, or an attacker.
func TestInvalidCompactExtentsAreRefused(t *testing.T) {
	layers, bounds := []uuid.UUID{goldenBase}, []uint64{100}
	decode := func(section []byte, count uint32) error {
		_, err := decodeCompactExtents(section, count, 8, layers, bounds)
		return err
	}
	if err := decode([]byte{4, 8}, 1); err != nil {
		t.Fatal(err)
	}
	for i, bad := range []struct {
		count   uint32
		section []byte
	}{
		{2, []byte{4, 8}}, {0xffff_ffff, []byte{4, 8}}, {1, []byte{8, 8}}, {1, []byte{252, 8, 2, 0}},
		{1, []byte{1, 8}}, {1, []byte{252, 8, 0, 0}}, {1, []byte{4, 9}}, {1, []byte{4, 0, 0, 0, 0, 0}},
		{1, []byte{4, 0, 255, 255, 255, 255}}, {1, []byte{4, 7}}, {1, []byte{4, 8, 0}}, {1, []byte{7, 8}},
		{1, []byte{7, 8, 99, 0, 0, 0}}, {0, nil},
	} {
		if err := decode(bad.section, bad.count); !errors.Is(err, ErrCorrupt) {
			t.Errorf("case %d: %v", i, err)
		}
	}
}

func checkWorkedExample(t *testing.T, name string) {
	t.Helper()
	h, err := DecodeHeader(golden(t, name))
	if err != nil {
		t.Fatal(err)
	}
	if h.Format != FormatNative || h.PauseID != goldenPause || h.BuildID != goldenDiff || h.BaseBuildID != goldenBase || h.MemoryBytes != 8*BlockSize || h.Generation != 1 || h.VMState != nil {
		t.Errorf("%+v", h)
	}
	if len(h.Layers) != 2 || h.Layers[0] != (LayerEntry{goldenBase, 5 * BlockSize, true}) || h.Layers[1] != (LayerEntry{goldenDiff, 2 * BlockSize, true}) {
		t.Errorf("%+v", h.Layers)
	}
	want := []Extent{{0, 2, 0, 0}, {2, 2, 1, 0}, {4, 1, Zeros, 0}, {5, 1, 0, 4}, {6, 2, Zeros, 0}}
	if h.NumExtents() != len(want) {
		t.Fatalf("%d extents", h.NumExtents())
	}
	for i, e := range want {
		e.Offset, e.Length, e.StorageOffset = e.Offset*BlockSize, e.Length*BlockSize, e.StorageOffset*BlockSize
		if h.Extent(i) != e {
			t.Errorf("extent %d is %+v, want %+v", i, h.Extent(i), e)
		}
		if found, err := h.Find(e.End() - 1); err != nil || found != i {
			t.Errorf("the last byte of extent %d is found in %d, %v", i, found, err)
		}
	}
	if _, err := h.Find(h.MemoryBytes); !errors.Is(err, ErrUsage) {
		t.Errorf("past the end: %v", err)
	}
}

func TestTheGoldenTrailer(t *testing.T) {
	data := golden(t, "trailer_v2.bin")
	trailer, err := DecodeTrailer(data, int64(2*BlockSize+len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if trailer.BuildID != goldenDiff || trailer.PauseID != goldenPause || trailer.Parent != goldenBase || trailer.Layout != LayoutCompact || trailer.DataBytes != 2*BlockSize || len(trailer.Chain) != 1 || trailer.Chain[0] != goldenBase {
		t.Errorf("%+v", trailer)
	}
	if guest, storage := trailer.Stored(0); trailer.NumStored() != 1 || guest != (Run{2 * BlockSize, 2 * BlockSize}) || storage != 0 {
		t.Errorf("stores %+v at %d", guest, storage)
	}
	if trailer.NumZeros() != 2 || trailer.Zero(1) != (Run{6 * BlockSize, 2 * BlockSize}) {
		t.Errorf("zeros %+v", trailer.zeros)
	}
	if trailer.checksums[0] != 0x0123456789abcdef || trailer.checksums[1] != 0xfedcba9876543210 {
		t.Errorf("checksums %x", trailer.checksums)
	}
}

func wrennHeaders(t testing.TB) map[string][]byte {
	var file struct {
		Cases []struct {
			Name     string
			Expected struct {
				Header     string `json:"header_hex"`
				Generation uint64
			}
		}
	}
	if err := json.Unmarshal(golden(t, "original_v1.json"), &file); err != nil {
		t.Fatal(err)
	}
	headers := map[string][]byte{}
	for _, c := range file.Cases {
		data, err := hex.DecodeString(c.Expected.Header)
		if err != nil {
			t.Fatal(err)
		}
		headers[c.Name] = data
	}
	return headers
}

func TestHeadersThatWrennWrote(t *testing.T) {
	headers := wrennHeaders(t)
	if len(headers) < 38 {
		t.Fatalf("only %d", len(headers))
	}
	for name, data := range headers {
		h, err := DecodeHeader(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// Compared record by record, with a plain reading of the bytes.
		c := &cursor{data[24:]}
		if h.Generation != c.u64() || h.BuildID != c.uuid() || h.BaseBuildID != c.uuid() {
			t.Errorf("%s: %+v", name, h)
		}
		for len(c.data) > 0 {
			offset, length, id, storage := c.u64(), c.u64(), c.uuid(), c.u64()
			for at := offset; at < offset+length && at < uint64(h.MemoryBytes); at += BlockSize {
				i, err := h.Find(int64(at))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				e := h.Extent(i)
				if id == uuid.Nil {
					if e.Layer != Zeros {
						t.Fatalf("%s: %#x is in a layer", name, at)
					}
				} else if e.Layer == Zeros || h.Layers[e.Layer].BuildID != id || e.StorageOffset+int64(at)-e.Offset != int64(storage+at-offset) {
					t.Fatalf("%s: %#x is at %+v", name, at, e)
				}
			}
		}
	}
}

func TestBlocksLargerThan4KiB(t *testing.T) {
	const block = 2 << 20
	header := func(memory uint64, records ...uint64) []byte {
		data := le64(le64(le64(le64(nil, 3), block), memory), 1)
		data = append(append(data, goldenDiff[:]...), goldenBase[:]...)
		for i := 0; i < len(records); i += 3 {
			data = append(le64(le64(data, records[i]), records[i+1]), goldenBase[:]...)
			data = le64(data, records[i+2])
		}
		return data
	}
	h, err := DecodeHeader(header(block+5000, 0, block, block, block, block, 0))
	if err != nil {
		t.Fatal(err)
	}
	if last := h.Extent(1); last != (Extent{block, 2 * BlockSize, 0, 0}) {
		t.Errorf("the last extent is %+v: it must end in the memory's last block", last)
	}
	if h, err = DecodeHeader(header(block + 5000)); err != nil || h.Extent(0).Layer != 0 || h.Layers[0].BuildID != goldenDiff {
		t.Errorf("without records: %v", err)
	}
	for what, data := range map[string][]byte{
		"a gap":            header(3*block, 0, block, 0, 2*block, block, 0),
		"an overlap":       header(2*block, 0, block, 0, 0, 2*block, 0),
		"not to the end":   header(2*block, 0, block, 0),
		"behind the end":   header(block, 0, 2*block, 0),
		"unaligned length": header(2*block, 0, 4096, 0, 4096, 2*block-4096, 0),
		"unaligned place":  header(block, 0, block, 4096),
		"empty":            header(block, 0, 0, 0, 0, block, 0),
		"far away":         header(block, 0, block, 1<<63),
	} {
		if _, err := DecodeHeader(data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// resum writes right checksums into a native header, so that what is behind them is tested.
func resum(data []byte, layers int) []byte {
	end := nativeFixedBytes + layers*nativeLayerBytes
	copy(data[104:], le64(le64(nil, xxh3.Sum64(data[nativeFixedBytes:end])), xxh3.Sum64(data[end:])))
	copy(data[fixedChecksumOffset:], le64(nil, xxh3.Sum64(data[:fixedChecksumOffset])))
	return data
}

func TestANativeHeaderWithRightChecksumsAndWrongContents(t *testing.T) {
	const extents = nativeFixedBytes + 2*nativeLayerBytes
	for what, change := range map[string]func(d []byte){
		"memory of nothing":         func(d []byte) { copy(d[80:], make([]byte, 8)) },
		"memory of 2^63":            func(d []byte) { d[87] = 0x80 },
		"blocks of 8192":            func(d []byte) { d[89] = 0x20 },
		"one layer twice":           func(d []byte) { copy(d[nativeFixedBytes+32:], goldenBase[:]) },
		"a nil layer":               func(d []byte) { copy(d[nativeFixedBytes:], make([]byte, 16)) },
		"own layer not listed":      func(d []byte) { d[48] ^= 1 },
		"first extent not at 0":     func(d []byte) { d[extents] = 1 },
		"extents out of order":      func(d []byte) { d[extents+4] = 7 },
		"extent past the memory":    func(d []byte) { d[extents+16] = 9 },
		"layer 3 of 2":              func(d []byte) { d[extents+40] = 3 },
		"zeros with storage":        func(d []byte) { d[extents+20+8] = 1 },
		"storage past the data":     func(d []byte) { d[extents+20+12] = 5 },
		"storage far past the data": func(d []byte) { copy(d[extents+20+12:], []byte{255, 255, 255, 255}) },
		"data of 2^63 blocks":       func(d []byte) { d[nativeFixedBytes+23] = 0x80 },
	} {
		data := golden(t, "header_native_v1.bin")
		change(data)
		if _, err := DecodeHeader(resum(data, 2)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := DecodeHeader(resum(golden(t, "header_native_v1.bin"), 2)); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	data := golden(t, "header_native_v1.bin")
	data[24] = 2
	if _, err := DecodeHeader(resum(data, 2)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("an unknown feature: %v", err)
	}
	data = golden(t, "header_native_v1.bin")
	copy(data[96:], []byte{255, 255, 255, 255, 255, 255, 255, 255})
	if _, err := DecodeHeader(resum(data, 2)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("2^32 layers and extents: %v", err)
	}
}

func TestEveryTruncationAndEveryFlipOfANativeHeaderIsRejected(t *testing.T) {
	data := golden(t, "header_native_v1.bin")
	for n := range data {
		if _, err := DecodeHeader(data[:n]); err == nil {
			t.Errorf("cut to %d bytes, it is accepted", n)
		}
		changed := append([]byte(nil), data...)
		changed[n] ^= 1 << uint(n%8)
		if _, err := DecodeHeader(changed); err == nil {
			t.Errorf("byte %d changed, and it is accepted", n)
		}
	}
}

func TestEveryTruncationAndEveryFlipOfATrailerIsRejected(t *testing.T) {
	m, _, p := modelWithData(rand.New(rand.NewSource(11)), false)
	file := m.layerFile(p.layer)
	l := m.layers[p.layer]
	data := len(l.blocks) * BlockSize
	if l.layout == LayoutAdopted {
		data = len(m.places) * BlockSize
	}
	if trailer, err := DecodeTrailer(file, int64(len(file))); err != nil || trailer.DataBytes != int64(data) {
		t.Fatalf("%+v, %v", trailer, err)
	}
	for n := data; n < len(file); n++ {
		// A file without the magic at its place has no trailer, which the header or the facts refute.
		if trailer, err := DecodeTrailer(file[:n], int64(n)); err == nil && trailer != nil {
			t.Errorf("cut to %d bytes, it is accepted", n)
		}
		changed := append([]byte(nil), file...)
		changed[n] ^= 1 << uint(n%8)
		if trailer, err := DecodeTrailer(changed, int64(len(file))); err == nil && trailer != nil {
			t.Errorf("byte %d changed, and it is accepted", n)
		}
	}
}

func TestATrailerOfHugeNumbersIsRejected(t *testing.T) {
	data := golden(t, "trailer_v2.bin")
	end := len(data) - footerBytes
	for _, at := range []int{72, 80, 88, 96, 100, 104, 108, 112, 116, 120} {
		changed := append([]byte(nil), data...)
		width := 4
		if at < 96 || at == 120 {
			width = 8
		}
		copy(changed[end+at:], bytes.Repeat([]byte{255}, width))
		copy(changed[end+footerSumOffset:], le64(nil, xxh3.Sum64(changed[end:end+footerSumOffset])))
		if _, err := DecodeTrailer(changed, int64(2*BlockSize+len(data))); err == nil {
			t.Errorf("the number at %d of the footer is accepted", at)
		}
	}
}
