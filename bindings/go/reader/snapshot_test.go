package reader

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lamina/go/internal/xxh3"
)

// seeded prints the seed of a random test; LAMINA_SEED replays it.
func seeded(t testing.TB) *rand.Rand {
	seed := time.Now().UnixNano()
	if text := os.Getenv("LAMINA_SEED"); text != "" {
		value, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatalf("LAMINA_SEED: %v", err)
		}
		seed = value
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("LAMINA_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewSource(seed))
}

func open(t testing.TB, path string) *Snapshot {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// checkMemory compares the whole memory and random ranges of any alignment with the array.
func checkMemory(t testing.TB, r *rand.Rand, s *Snapshot, memory []byte) {
	t.Helper()
	whole := make([]byte, len(memory))
	if n, err := s.ReadAt(whole, 0); n != len(whole) || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if !bytes.Equal(whole, memory) {
		t.Fatal("the memory is wrong")
	}
	for i := 0; i < 20; i++ {
		from := r.Intn(len(memory) + 1)
		to := from + r.Intn(len(memory)-from+1)
		part := bytes.Repeat([]byte{0xee}, to-from)
		if n, err := s.ReadAt(part, int64(from)); n != len(part) || err != nil {
			t.Fatalf("[%d, %d): %d bytes, %v", from, to, n, err)
		}
		if !bytes.Equal(part, memory[from:to]) {
			t.Fatalf("[%d, %d) is wrong", from, to)
		}
	}
}

func TestEveryFormatGivesTheArrayOfPages(t *testing.T) {
	r := seeded(t)
	for round := 0; round < 20; round++ {
		for _, format := range []Format{FormatNative, FormatV1, FormatV3} {
			legacy := format != FormatNative && r.Intn(2) == 0
			m := randomModel(r, legacy)
			withFacts := !legacy || r.Intn(2) == 0
			s := open(t, m.write(t, format, withFacts))
			checkMemory(t, r, s, m.memory)
			h := s.Header()
			if h.Format != format || h.BuildID != m.youngest() || h.Generation != uint64(len(m.layers)-1) || s.Size() != m.memoryBytes {
				t.Fatalf("%+v", h)
			}
			if (s.Facts() != nil) != withFacts || (withFacts && s.PauseID() != m.pause) {
				t.Fatalf("pause %s, facts %+v", s.PauseID(), s.Facts())
			}
			for i := 0; i < s.NumLayers(); i++ {
				if s.Layer(i).HasChecksums == legacy {
					t.Fatalf("layer %d: %+v", i, s.Layer(i))
				}
			}
			checkExtents(t, r, s, m)
		}
	}
}

// checkExtents compares a random range of extents with the array of places.
func checkExtents(t *testing.T, r *rand.Rand, s *Snapshot, m *model) {
	t.Helper()
	from := r.Int63n(s.Size())
	length := r.Int63n(s.Size() - from + 1)
	extents, err := s.Extents(from, length)
	if err != nil {
		t.Fatal(err)
	}
	next := from / BlockSize
	for i, e := range extents {
		if e.Offset != next*BlockSize || e.Length <= 0 {
			t.Fatalf("extent %d is %+v, want one at block %d", i, e, next)
		}
		for b := int64(0); b < e.Length/BlockSize; b, next = b+1, next+1 {
			p := m.places[next]
			if e.Layer == Zeros {
				if p.layer != -1 {
					t.Fatalf("block %d is zeros, want %+v", next, p)
				}
				continue
			}
			if m.layers[p.layer].id != s.Layer(e.Layer).BuildID || int64(p.storage) != e.StorageOffset/BlockSize+b {
				t.Fatalf("block %d is at %+v, want %+v", next, e, p)
			}
		}
	}
	if end := int64(blocksFor(uint64(from + length))); length > 0 && next != end {
		t.Fatalf("the extents end at block %d, want %d", next, end)
	}
	if _, err := s.Extents(1, s.Size()); !errors.Is(err, ErrUsage) {
		t.Fatalf("a range past the end: %v", err)
	}
}

func TestReadsAtTheEndsFollowReaderAt(t *testing.T) {
	m := randomModel(rand.New(rand.NewSource(3)), false)
	s := open(t, m.write(t, FormatNative, true))
	buffer := make([]byte, 100)
	if n, err := s.ReadAt(buffer, s.Size()-40); n != 40 || err != io.EOF {
		t.Errorf("across the end: %d, %v", n, err)
	}
	for _, off := range []int64{s.Size(), s.Size() + 5000, 1 << 62} {
		if n, err := s.ReadAt(buffer, off); n != 0 || err != io.EOF {
			t.Errorf("at %d: %d, %v", off, n, err)
		}
	}
	if n, err := s.ReadAt(buffer, -1); n != 0 || !errors.Is(err, ErrUsage) {
		t.Errorf("before the beginning: %d, %v", n, err)
	}
	if n, err := s.ReadAt(nil, 0); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
	whole, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
	if err != nil || !bytes.Equal(whole, m.memory) {
		t.Errorf("through a section: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A snapshot may be all zeros here and there; read all of it.
	if _, err := s.ReadAt(make([]byte, s.Size()), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// flip changes one byte of a file.
func flip(t testing.TB, path string, at int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	one := make([]byte, 1)
	if _, err := file.ReadAt(one, at); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 0x10
	if _, err := file.WriteAt(one, at); err != nil {
		t.Fatal(err)
	}
}

// modelWithData has a layer whose data the memory refers to; it returns such a place.
func modelWithData(r *rand.Rand, legacy bool) (*model, int64, place) {
	for {
		m := randomModel(r, legacy)
		for b, p := range m.places {
			if p.layer >= 0 {
				return m, int64(b), p
			}
		}
	}
}

func TestAChangedByteIsNeverServed(t *testing.T) {
	r := seeded(t)
	for round := 0; round < 10; round++ {
		m, block, p := modelWithData(r, false)
		directory := m.write(t, FormatNative, true)
		path := filepath.Join(directory, layerPrefix+m.layers[p.layer].id.String())
		s := open(t, directory)
		at := int64(p.storage)*BlockSize + r.Int63n(BlockSize)
		flip(t, path, at)
		whole := make([]byte, s.Size())
		n, err := s.ReadAt(whole, 0)
		if !errors.Is(err, ErrCorrupt) || int64(n) > block*BlockSize || !bytes.Equal(whole[:n], m.memory[:n]) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		var known *Error
		if !errors.As(err, &known) || known.Path != path || known.Offset != at/BlockSize*BlockSize || known.Remedy == "" {
			t.Fatalf("%#v", known)
		}
		if !strings.Contains(err.Error(), fmt.Sprintf("guest offset %#x", block*BlockSize)) {
			t.Fatalf("%v does not name guest offset %#x", err, block*BlockSize)
		}
		// One byte of the bad block, and one of its neighbours.
		if n, err := s.ReadAt(make([]byte, 1), block*BlockSize); n != 0 || !errors.Is(err, ErrCorrupt) {
			t.Fatalf("a byte of it: %d, %v", n, err)
		}
	}
}

func TestATrailerMissingOrOfAnotherLayerIsRefused(t *testing.T) {
	r := seeded(t)
	m, _, p := modelWithData(r, false)
	name := layerPrefix + m.layers[p.layer].id.String()
	for what, change := range map[string]func(data []byte) []byte{
		"cut":           func(d []byte) []byte { return d[:len(d)-1] },
		"no trailer":    func(d []byte) []byte { return d[:len(d)-footerBytes-1] },
		"empty":         func([]byte) []byte { return nil },
		"one byte more": func(d []byte) []byte { return append(d, 0) },
		"block missing": func(d []byte) []byte { return d[BlockSize:] },
		"other layer":   func([]byte) []byte { n, _, q := modelWithData(r, false); return n.layerFile(q.layer) },
	} {
		for _, format := range []Format{FormatNative, FormatV1} {
			directory := m.write(t, format, true)
			writeFile(t, directory, name, change(m.layerFile(p.layer)))
			if s, err := Open(directory); !errors.Is(err, ErrCorrupt) {
				if err == nil {
					s.Close()
				}
				t.Errorf("%s, %s: %v", what, format, err)
			}
		}
	}
}

// A header may not place a right block at a wrong address.
func TestAChecksumIsBoundToItsPlace(t *testing.T) {
	r := seeded(t)
	swapped := 0
	for swapped < 10 {
		m := randomModel(r, false)
		var stored []int
		for b, p := range m.places {
			if p.layer == 0 {
				stored = append(stored, b)
			}
		}
		if len(stored) < 2 {
			continue
		}
		a, b := stored[0], stored[len(stored)-1]
		m.places[a], m.places[b] = m.places[b], m.places[a]
		if s, err := Open(m.write(t, FormatNative, true)); !errors.Is(err, ErrCorrupt) {
			if err == nil {
				s.Close()
			}
			t.Fatalf("blocks %d and %d: %v", a, b, err)
		}
		swapped++
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	m, _, p := modelWithData(rand.New(rand.NewSource(5)), false)
	layer := layerPrefix + m.layers[p.layer].id.String()
	for _, name := range []string{headerName, layer} {
		directory := m.write(t, FormatNative, true)
		if err := os.Remove(filepath.Join(directory, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(directory); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, filepath.Dir(file), "file", nil)
	if _, err := Open(file); !errors.Is(err, ErrUsage) {
		t.Errorf("a file: %v", err)
	}
}

func TestFactsMustFitTheHeader(t *testing.T) {
	m, _, _ := modelWithData(rand.New(rand.NewSource(6)), false)
	header := m.headerV1(1)
	header[24] ^= 1 // the generation, which nothing else checks
	for what, change := range map[string]func(directory string){
		"a changed header of version 1": func(d string) { writeFile(t, d, headerName, header) },
		"facts of another snapshot": func(d string) {
			other, _, _ := modelWithData(rand.New(rand.NewSource(7)), false)
			writeFile(t, d, factsName, other.facts(t, FormatV1, m.headerV1(1)))
		},
		"no JSON":      func(d string) { writeFile(t, d, factsName, []byte("{")) },
		"null":         func(d string) { writeFile(t, d, factsName, []byte("null")) },
		"no fields":    func(d string) { writeFile(t, d, factsName, []byte("{}")) },
		"header: hole": func(d string) { writeFile(t, d, headerName, nil); os.Truncate(filepath.Join(d, headerName), 1<<20) },
	} {
		directory := m.write(t, FormatV1, true)
		change(directory)
		if _, err := Open(directory); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestVersionsThatAreNotKnownAreRefused(t *testing.T) {
	m, _, p := modelWithData(rand.New(rand.NewSource(8)), false)
	for _, change := range []func(d string){
		func(d string) { h := m.nativeHeader(); h[8] = 2; writeFile(t, d, headerName, h) },
		func(d string) { writeFile(t, d, headerName, m.headerV1(2)) },
		func(d string) {
			writeFile(t, d, factsName, bytes.Replace(m.facts(t, FormatNative, nil), []byte(`"version":1`), []byte(`"version":7`), 1))
		},
		func(d string) {
			data := m.layerFile(p.layer)
			data[len(data)-footerBytes+8] = 3
			writeFile(t, d, layerPrefix+m.layers[p.layer].id.String(), data)
		},
	} {
		directory := m.write(t, FormatNative, true)
		change(directory)
		if _, err := Open(directory); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%v", err)
		}
	}
}

func TestTheOnlyLayerOfWrennMayBeNamedMemfile(t *testing.T) {
	r := seeded(t)
	for {
		m := randomModel(r, true)
		if len(m.layers) > 1 {
			continue
		}
		directory := m.write(t, FormatV1, false)
		if err := os.Rename(filepath.Join(directory, layerPrefix+m.youngest().String()), filepath.Join(directory, "memfile")); err != nil {
			t.Fatal(err)
		}
		checkMemory(t, r, open(t, directory), m.memory)
		break
	}
}

func TestTheLastBlockOfALayerOfWrennMayBeShort(t *testing.T) {
	r := seeded(t)
	for {
		m, _, _ := modelWithData(r, true)
		last := len(m.places) - 1
		p := m.places[last]
		inBlock := m.memoryBytes - int64(last)*BlockSize
		if inBlock == BlockSize || p.layer < 0 || int(p.storage) != len(m.layers[p.layer].blocks)-1 {
			continue
		}
		directory := m.write(t, FormatV1, false)
		path := filepath.Join(directory, layerPrefix+m.layers[p.layer].id.String())
		if err := os.Truncate(path, int64(p.storage)*BlockSize+inBlock); err != nil {
			t.Fatal(err)
		}
		checkMemory(t, r, open(t, directory), m.memory)
		return
	}
}

func TestAFifoOrALinkInsteadOfAFileIsRefused(t *testing.T) {
	m, _, p := modelWithData(rand.New(rand.NewSource(9)), false)
	name := layerPrefix + m.layers[p.layer].id.String()
	directory := m.write(t, FormatNative, true)
	path := filepath.Join(directory, name)
	if err := os.Rename(path, filepath.Join(directory, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(directory); err == nil {
		t.Error("a FIFO is opened")
	}
	os.Remove(path)
	if err := os.Symlink("elsewhere", path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(directory); err == nil || !strings.Contains(err.Error(), "link") {
		t.Errorf("a link: %v", err)
	}
}

func TestAnOpenSnapshotOutlivesItsName(t *testing.T) {
	r := seeded(t)
	m, _, _ := modelWithData(r, false)
	directory := m.write(t, FormatNative, true)
	s := open(t, directory)
	if err := os.RemoveAll(directory); err != nil {
		t.Fatal(err)
	}
	checkMemory(t, r, s, m.memory)
}

func TestManyGoroutinesReadAtOnce(t *testing.T) {
	m, _, _ := modelWithData(seeded(t), false)
	s := open(t, m.write(t, FormatNative, true))
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		r := rand.New(rand.NewSource(int64(i)))
		group.Add(1)
		go func() {
			defer group.Done()
			for k := 0; k < 200; k++ {
				from := r.Intn(len(m.memory))
				part := make([]byte, 1+r.Intn(len(m.memory)-from))
				if _, err := s.ReadAt(part, int64(from)); err != nil || !bytes.Equal(part, m.memory[from:from+len(part)]) {
					t.Errorf("[%d, +%d): %v", from, len(part), err)
					return
				}
			}
		}()
	}
	group.Wait()
}

func TestTheVMStateIsComparedWithItsDigest(t *testing.T) {
	m, _, _ := modelWithData(rand.New(rand.NewSource(10)), false)
	state := []byte("state of a VM")
	directory := m.write(t, FormatNative, true)
	if _, err := open(t, directory).ReadVMState(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	header := m.nativeHeader()
	digest := xxh3.Sum128(state)
	header[92] = nativeHasVMState
	copy(header[120:], le64(nil, uint64(len(state))))
	copy(header[128:], digest[:])
	copy(header[fixedChecksumOffset:], le64(nil, xxh3.Sum64(header[:fixedChecksumOffset])))
	writeFile(t, directory, headerName, header)
	writeFile(t, directory, vmstateName, state)
	if got, err := open(t, directory).ReadVMState(); err != nil || !bytes.Equal(got, state) {
		t.Errorf("%q, %v", got, err)
	}
	flip(t, filepath.Join(directory, vmstateName), 3)
	if _, err := open(t, directory).ReadVMState(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("changed: %v", err)
	}
}

func TestALayerIsReadByItself(t *testing.T) {
	r := seeded(t)
	for _, layout := range []Layout{LayoutCompact, LayoutAdopted} {
		for {
			m, _, p := modelWithData(r, false)
			l := m.layers[p.layer]
			if l.layout != layout || (layout == LayoutAdopted && len(l.blocks) == len(m.places)) {
				continue
			}
			path := filepath.Join(m.write(t, FormatNative, false), layerPrefix+l.id.String())
			layer, err := OpenLayer(path)
			if err != nil {
				t.Fatal(err)
			}
			trailer := layer.Trailer()
			if trailer.Layout != layout || trailer.BuildID != l.id || trailer.StoredBlocks() != int64(len(l.blocks)) || len(trailer.Chain) != p.layer {
				t.Fatalf("%+v", trailer)
			}
			for i := 0; i < trailer.NumStored(); i++ {
				guest, storage := trailer.Stored(i)
				data := make([]byte, guest.Length)
				if _, err := layer.ReadAt(data, storage); err != nil {
					t.Fatal(err)
				}
				for b := int64(0); b < guest.Length/BlockSize; b++ {
					if !bytes.Equal(data[b*BlockSize:(b+1)*BlockSize], l.content[uint32(guest.Offset/BlockSize+b)]) {
						t.Fatalf("guest block %d is wrong", guest.Offset/BlockSize+b)
					}
				}
			}
			for i := 0; i < trailer.NumZeros(); i++ {
				if z := trailer.Zero(i); z.Offset/BlockSize != int64(runs(l.zeros)[i].first) {
					t.Fatalf("zeros %d: %+v", i, z)
				}
			}
			whole := make([]byte, layer.DataBytes())
			_, err = layer.ReadAt(whole, 0)
			if layout == LayoutAdopted && !errors.Is(err, ErrUsage) {
				t.Errorf("blocks without checksums are read: %v", err)
			}
			if layout == LayoutCompact && err != nil {
				t.Error(err)
			}
			layer.Close()
			break
		}
	}
}
