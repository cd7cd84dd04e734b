package reader

import (
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"lamina/go/internal/xxh3"
)

// Fuzz targets. `go test` runs their seeds; `go test -fuzz FuzzDecodeHeader ./reader` searches.

func FuzzDecodeHeader(f *testing.F) {
	f.Add(golden(f, "header_native_v1.bin"), true)
	f.Add(golden(f, "header_native_compact_v1.bin"), true)
	f.Add(golden(f, "header_native_compact_kinds_v1.bin"), true)
	for _, data := range wrennHeaders(f) {
		f.Add(data, false)
	}
	r := rand.New(rand.NewSource(12))
	for i := 0; i < 20; i++ {
		m := randomModel(r, false)
		f.Add(m.nativeHeader(), false)
		f.Add(m.headerV1(3), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, sums bool) {
		if sums && isNativeHeader(data) && len(data) >= nativeFixedBytes {
			layers := int((&cursor{data[96:]}).u32())
			if layers <= (len(data)-nativeFixedBytes)/nativeLayerBytes {
				data = resum(append([]byte(nil), data...), layers)
			}
		}
		h, err := DecodeHeader(data)
		if err != nil {
			mustBeKnown(t, err)
			return
		}
		// Whatever is accepted covers the memory, and every extent has a layer.
		next := int64(0)
		for i := 0; i < h.NumExtents(); i++ {
			e := h.Extent(i)
			if e.Offset != next || e.Length <= 0 || e.Layer < Zeros || e.Layer >= len(h.Layers) || e.StorageOffset < 0 {
				t.Fatalf("extent %d is %+v", i, e)
			}
			next = e.End()
		}
		if next/BlockSize != int64(blocksFor(uint64(h.MemoryBytes))) {
			t.Fatalf("the extents end at %#x, the memory at %#x", next, h.MemoryBytes)
		}
	})
}

func mustBeKnown(t *testing.T, err error) {
	t.Helper()
	var known *Error
	if !errors.As(err, &known) || known.Error() == "" {
		t.Fatalf("%#v is not an error of this package", err)
	}
}

// resumTrailer writes right checksums into a trailer.
func resumTrailer(data []byte) []byte {
	if len(data) < footerBytes {
		return data
	}
	data = append([]byte(nil), data...)
	foot := data[len(data)-footerBytes:]
	c := &cursor{foot[104:]}
	lists := (uint64(c.u32())+uint64(c.u32()))*uuidBytes + (uint64(c.u32())+uint64(c.u32()))*runBytes
	checksums := c.u64()
	body := uint64(len(data) - footerBytes)
	if checksums < 1<<32 && lists+8*checksums <= body {
		start := body - lists - 8*checksums
		copy(foot[128:], le64(le64(nil, xxh3.Sum64(data[start:start+lists])), xxh3.Sum64(data[start+lists:body])))
	}
	copy(foot[footerSumOffset:], le64(nil, xxh3.Sum64(foot[:footerSumOffset])))
	return data
}

func FuzzDecodeTrailer(f *testing.F) {
	data := golden(f, "trailer_v2.bin")
	f.Add(data, int64(2*BlockSize+len(data)), true)
	r := rand.New(rand.NewSource(13))
	for i := 0; i < 10; i++ {
		m := randomModel(r, false)
		file := m.layerFile(0)
		trailer, err := DecodeTrailer(file, int64(len(file)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file[trailer.DataBytes:], int64(len(file)), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, fileBytes int64, sums bool) {
		if sums {
			data = resumTrailer(data)
		}
		trailer, err := DecodeTrailer(data, fileBytes)
		if err != nil {
			mustBeKnown(t, err)
			return
		}
		if trailer == nil {
			return
		}
		total := int64(0)
		for i := 0; i < trailer.NumStored(); i++ {
			guest, storage := trailer.Stored(i)
			first := uint32(guest.Offset / BlockSize)
			if s := trailer.findStored(first); s == nil || s != trailer.findStorage(uint32(storage/BlockSize)) {
				t.Fatalf("run %d is not found", i)
			}
			total += guest.Length / BlockSize
		}
		if total != trailer.StoredBlocks() {
			t.Fatalf("%d blocks and %d checksums", total, trailer.StoredBlocks())
		}
	})
}

// FuzzOpen opens a directory of arbitrary files and reads all of its memory.
func FuzzOpen(f *testing.F) {
	r := rand.New(rand.NewSource(14))
	for i := 0; i < 6; {
		m := randomModel(r, i%3 == 2)
		if len(m.layers) > 1 || len(m.places) > 4 { // the engine is slow with large inputs
			continue
		}
		header := m.nativeHeader()
		if i%3 != 0 {
			header = m.headerV1(1)
		}
		f.Add(header, m.facts(f, FormatV1, header), m.layerFile(0))
		i++
	}
	f.Add([]byte{}, []byte("{}"), []byte{})
	f.Fuzz(func(t *testing.T, header, facts, layer []byte) {
		directory := t.TempDir()
		writeFile(t, directory, headerName, header)
		if len(facts) > 0 {
			writeFile(t, directory, factsName, facts)
		}
		name := "memfile"
		if h, err := DecodeHeader(header); err == nil {
			name = layerPrefix + h.Layers[len(h.Layers)-1].BuildID.String()
		}
		writeFile(t, directory, name, layer)
		s, err := Open(directory)
		if err != nil {
			mustBeKnown(t, err)
			return
		}
		defer s.Close()
		size := s.Size()
		if size > 1<<20 {
			size = 1 << 20
		}
		if n, err := s.ReadAt(make([]byte, size), 0); err != nil {
			mustBeKnown(t, err)
		} else if int64(n) != size {
			t.Fatalf("%d bytes of %d", n, size)
		}
	})
}

func FuzzFacts(f *testing.F) {
	m := randomModel(rand.New(rand.NewSource(15)), false)
	f.Add(m.facts(f, FormatNative, m.nativeHeader()))
	f.Add([]byte(`{"version": 1, "layers": [null, {}, 3], "origin": [], "header": {"bytes": -1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := decodeFacts(data); err != nil {
			mustBeKnown(t, err)
		}
	})
}

// allocated is what a call allocates, in bytes.
func allocated(call func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	call()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestNumbersOfAFileDoNotDecideHowMuchIsAllocated(t *testing.T) {
	const limit = 1 << 20
	expectFailure := func(what string, call func() error) {
		t.Helper()
		var err error
		if bytes := allocated(func() { err = call() }); bytes > limit {
			t.Errorf("%s: %d bytes were allocated", what, bytes)
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	header := golden(t, "header_native_v1.bin")
	copy(header[16:], le64(nil, nativeFixedBytes+2*nativeLayerBytes+(1<<32-1)*nativeExtentBytes))
	copy(header[100:], le32(nil, 1<<32-1))
	resum(header, 2)
	expectFailure("2^32-1 extents", func() error { _, err := DecodeHeader(header); return err })

	directory := t.TempDir()
	writeFile(t, directory, headerName, header)
	if err := os.Truncate(filepath.Join(directory, headerName), 1<<31-1); err != nil {
		t.Fatal(err)
	}
	expectFailure("a sparse header", func() error { _, err := Open(directory); return err })

	// A sparse layer whose footer is right and describes 2^31 checksums.
	const blocks, size = 1 << 31, (1<<31)*(BlockSize+8) + runBytes + footerBytes
	trailer := golden(t, "trailer_v2.bin")
	foot := trailer[len(trailer)-footerBytes:]
	copy(foot[72:], le64(le64(le64(nil, blocks*BlockSize), blocks*BlockSize), blocks*8+runBytes+footerBytes))
	copy(foot[104:], le64(le32(le32(le32(le32(nil, 0), 0), 1), 0), blocks))
	copy(foot[footerSumOffset:], le64(nil, xxh3.Sum64(foot[:footerSumOffset])))
	path := filepath.Join(directory, "layer")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(foot, size-footerBytes); err != nil {
		t.Skipf("the file system has no file of 8 TiB: %v", err)
	}
	expectFailure("a sparse trailer", func() error { _, err := OpenLayer(path); return err })
}
