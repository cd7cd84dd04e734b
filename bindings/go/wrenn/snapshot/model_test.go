package snapshot

import (
	"bytes"
	"context"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

const block = int(DefaultBlockSize)

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

// withZeros sets DiffZeros for a test.
func withZeros(t testing.TB, meaning ZeroMeaning) {
	before := DiffZeros
	DiffZeros = meaning
	t.Cleanup(func() { DiffZeros = before })
}

// writeSparse writes a memory file with these blocks; everything else is a hole.
func writeSparse(t testing.TB, path string, size int, blocks map[int][]byte) {
	t.Helper()
	os.Remove(path)
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	for n, data := range blocks {
		if end := size - n*block; end < len(data) {
			data = data[:end]
		}
		if _, err := file.WriteAt(data, int64(n*block)); err != nil {
			t.Fatal(err)
		}
	}
}

// readMemory reads all of the memory as wrenn's page server does: a lookup for each block.
func readMemory(t testing.TB, h *Header, files map[string]string) []byte {
	t.Helper()
	contents := map[string][]byte{}
	for id, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		contents[id] = data
	}
	var memory []byte
	size := int64(h.Metadata.Size)
	for offset := int64(0); offset < size; offset += int64(h.Metadata.BlockSize) {
		at, left, id, err := h.GetShiftedMapping(context.Background(), offset)
		if err != nil || left <= 0 {
			t.Fatalf("offset %#x: %d, %v", offset, left, err)
		}
		if *id == uuid.Nil {
			memory = append(memory, make([]byte, h.Metadata.BlockSize)...)
			continue
		}
		memory = append(memory, contents[id.String()][at:at+int64(h.Metadata.BlockSize)]...)
	}
	return memory[:size]
}

// sandbox is a snapshot directory and the memory that it must give.
type sandbox struct {
	t         testing.TB
	directory string
	memory    []byte
	size      int
	header    *Header
}

func newSandbox(t testing.TB, size int) *sandbox {
	return &sandbox{t: t, directory: t.TempDir(), memory: make([]byte, TotalBlocks(int64(size), int64(block))*int64(block)), size: size}
}

func (s *sandbox) raw() string        { return filepath.Join(s.directory, "memfile.raw") }
func (s *sandbox) headerPath() string { return MemHeaderPath(s.directory, "") }

// pause writes random blocks, some of them zeros, and makes a generation of them.
func (s *sandbox) pause(r *rand.Rand) {
	s.t.Helper()
	written := map[int][]byte{}
	full := s.header == nil
	for n := 0; n < len(s.memory)/block; n++ {
		at := s.memory[n*block : (n+1)*block]
		kind := r.Intn(6)
		switch {
		case kind == 0:
			r.Read(at)
			for i := s.size - n*block; i >= 0 && i < block; i++ {
				at[i] = 0
			}
		case kind == 1:
			old := append([]byte(nil), at...)
			copy(at, make([]byte, block))
			written[n] = append([]byte(nil), at...)
			if DiffZeros == ZerosInherit && !full {
				copy(at, old)
			}
			continue
		default:
			continue
		}
		written[n] = append([]byte(nil), at...)
	}
	writeSparse(s.t, s.raw(), s.size, written)
	id := uuid.New()
	diff := MemDiffPathForBuild(s.directory, "", id)
	var err error
	parent := s.header
	if full {
		s.header, err = ProcessMemfile(s.raw(), diff, s.headerPath(), id)
	} else {
		before, _ := Serialize(parent.Metadata, parent.Mapping)
		s.header, err = ProcessMemfileWithParent(s.raw(), diff, s.headerPath(), parent, id)
		if after, _ := Serialize(parent.Metadata, parent.Mapping); !bytes.Equal(before, after) {
			s.t.Fatal("the parent's header was changed")
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if !full && (s.header.Metadata.Generation != parent.Metadata.Generation+1 || s.header.Metadata.BaseBuildID != parent.Metadata.BaseBuildID) {
		s.t.Fatalf("%+v over %+v", s.header.Metadata, parent.Metadata)
	}
	s.check()
}

// merge merges as wrenn's sandbox manager does: the header in place, then the old diffs are removed.
func (s *sandbox) merge() {
	s.t.Helper()
	files, err := ListDiffFiles(s.directory, "", s.header)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.header, err = MergeDiffs(s.header, files, filepath.Join(s.directory, "merged"), s.headerPath()); err != nil {
		s.t.Fatal(err)
	}
	for _, path := range files {
		if err := os.Remove(path); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(s.directory, "merged"), MemDiffPathForBuild(s.directory, "", s.header.Metadata.BuildID)); err != nil {
		s.t.Fatal(err)
	}
	m := s.header.Metadata
	if m.Generation != 0 || m.BuildID != m.BaseBuildID || m.Version != 1 {
		s.t.Fatalf("%+v", m)
	}
	s.check()
}

// check compares the memory by the returned header, and by the one on the disk, with the array.
func (s *sandbox) check() {
	s.t.Helper()
	data, err := os.ReadFile(s.headerPath())
	if err != nil {
		s.t.Fatal(err)
	}
	onDisk, err := Deserialize(data)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range []*Header{s.header, onDisk} {
		files, err := ListDiffFiles(s.directory, "", h)
		if err != nil {
			s.t.Fatal(err)
		}
		if got := readMemory(s.t, h, files); !bytes.Equal(got, s.memory[:s.size]) {
			for n := 0; n*block < s.size; n++ {
				end := (n + 1) * block
				if end > s.size {
					end = s.size
				}
				if !bytes.Equal(got[n*block:end], s.memory[n*block:end]) {
					s.t.Fatalf("block %d is wrong", n)
				}
			}
		}
	}
	entries, err := os.ReadDir(s.directory)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name()[0] == '.' {
			s.t.Fatalf("'%s' is left", entry.Name())
		}
	}
}

func TestPausesAndMergesGiveTheArrayOfPages(t *testing.T) {
	for name, meaning := range map[string]ZeroMeaning{"written": ZerosWritten, "inherit": ZerosInherit} {
		t.Run(name, func(t *testing.T) {
			withZeros(t, meaning)
			r := seeded(t)
			for round := 0; round < 4; round++ {
				size := (1 + r.Intn(120)) * block
				if r.Intn(2) == 0 {
					size -= r.Intn(block)
				}
				s := newSandbox(t, size)
				for generation := 0; generation < 6; generation++ {
					s.pause(r)
					if generation > 0 && r.Intn(3) == 0 {
						s.merge()
					}
				}
			}
		})
	}
}

func TestAClearedPageStaysCleared(t *testing.T) {
	withZeros(t, ZerosWritten)
	directory := t.TempDir()
	raw, header := filepath.Join(directory, "raw"), filepath.Join(directory, "h")
	data := bytes.Repeat([]byte{7}, block)
	writeSparse(t, raw, 3*block, map[int][]byte{0: data, 1: data, 2: data})
	first, second := uuid.New(), uuid.New()
	parent, err := ProcessMemfile(raw, filepath.Join(directory, "1"), header, first)
	if err != nil {
		t.Fatal(err)
	}
	writeSparse(t, raw, 3*block, map[int][]byte{1: make([]byte, block)})
	child, err := ProcessMemfileWithParent(raw, filepath.Join(directory, "2"), header, parent, second)
	if err != nil {
		t.Fatal(err)
	}
	want := []BuildMap{{0, uint64(block), first, 0}, {uint64(block), uint64(block), uuid.Nil, 0}, {2 * uint64(block), uint64(block), first, 2 * uint64(block)}}
	if len(child.Mapping) != len(want) {
		t.Fatalf("%d records", len(child.Mapping))
	}
	for i := range want {
		if *child.Mapping[i] != want[i] {
			t.Errorf("record %d: %+v", i, *child.Mapping[i])
		}
	}
	if info, err := os.Stat(filepath.Join(directory, "2")); err != nil || info.Size() != 0 {
		t.Errorf("the diff stores zeros: %v, %v", info, err)
	}
}

// Preallocated storage that was never written is a hole, also after it was read.
func TestPreallocatedPagesAreHoles(t *testing.T) {
	withZeros(t, ZerosWritten)
	s := newSandbox(t, 64*block)
	s.pause(rand.New(rand.NewSource(1)))
	os.Remove(s.raw())
	file, err := os.Create(s.raw())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := syscall.Fallocate(int(file.Fd()), 0, 0, 64*int64(block)); err != nil {
		t.Skipf("no preallocation here: %v", err)
	}
	zeros := make([]byte, block)
	if _, err := file.WriteAt(zeros, 5*int64(block)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(s.raw()); err != nil {
		t.Fatal(err)
	}
	id := uuid.New()
	h, err := ProcessMemfileWithParent(s.raw(), MemDiffPathForBuild(s.directory, "", id), s.headerPath(), s.header, id)
	if err != nil { // refused where the file system does not tell the two apart
		t.Logf("refused: %v", err)
		return
	}
	copy(s.memory[5*block:], zeros)
	s.header = h
	s.check()
}

func TestABlockSizeOf2MiBBecomes4KiBInADiff(t *testing.T) {
	withZeros(t, ZerosWritten)
	directory := t.TempDir()
	base := uuid.New()
	basePath := MemDiffPathForBuild(directory, "", base)
	memory := make([]byte, 4<<20)
	rand.New(rand.NewSource(2)).Read(memory)
	if err := os.WriteFile(basePath, memory, 0o600); err != nil {
		t.Fatal(err)
	}
	metadata := NewMetadata(base, 2<<20, uint64(len(memory)))
	metadata.Version = 3
	parent, err := NewHeader(metadata, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(directory, "raw")
	data := bytes.Repeat([]byte{9}, block)
	writeSparse(t, raw, len(memory), map[int][]byte{3: data, 700: make([]byte, block)})
	copy(memory[3*block:], data)
	copy(memory[700*block:], make([]byte, block))
	id := uuid.New()
	h, err := ProcessMemfileWithParent(raw, MemDiffPathForBuild(directory, "", id), MemHeaderPath(directory, ""), parent, id)
	if err != nil {
		t.Fatal(err)
	}
	files, err := ListDiffFiles(directory, "", h)
	if err != nil {
		t.Fatal(err)
	}
	if h.Metadata.BlockSize != uint64(block) || h.Metadata.Version != 3 || !bytes.Equal(readMemory(t, h, files), memory) {
		t.Errorf("%+v, or the memory is wrong", h.Metadata)
	}
}
