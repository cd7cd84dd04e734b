package snapshot

import (
	"bytes"
	"context"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
)

// state is all files of a directory.
func state(t testing.TB, directory string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(directory, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(data)
	}
	return files
}

// mustRefuse calls what must fail with this text, and leave the directory as it was.
func mustRefuse(t testing.TB, directory, want string, call func() (*Header, error)) {
	t.Helper()
	before := state(t, directory)
	h, err := call()
	if err == nil || !strings.Contains(err.Error(), want) || h != nil {
		t.Errorf("want '%s', got %v", want, err)
	}
	after := state(t, directory)
	if len(after) != len(before) {
		t.Errorf("%s: %d files before, %d after", want, len(before), len(after))
	}
	for name, data := range before {
		if after[name] != data {
			t.Errorf("%s: '%s' has changed", want, name)
		}
	}
}

func TestWhatWouldLoseMemoryIsRefusedAndChangesNothing(t *testing.T) {
	withZeros(t, ZerosWritten)
	r := rand.New(rand.NewSource(3))
	s := newSandbox(t, 60*block)
	for i := 0; i < 3; i++ {
		s.pause(r)
	}
	files, err := ListDiffFiles(s.directory, "", s.header)
	if err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(s.directory, name) }
	writeSparse(t, path("raw"), 60*block, map[int][]byte{1: bytes.Repeat([]byte{1}, block)})
	writeSparse(t, path("other"), 61*block, nil)
	writeSparse(t, path("empty"), 0, nil)
	own := s.header.Metadata.BuildID
	withParent := func(raw, diff string, id uuid.UUID) func() (*Header, error) {
		return func() (*Header, error) {
			return ProcessMemfileWithParent(path(raw), path(diff), s.headerPath(), s.header, id)
		}
	}
	full := func(raw, diff, header string, id uuid.UUID) func() (*Header, error) {
		return func() (*Header, error) { return ProcessMemfile(path(raw), path(diff), path(header), id) }
	}
	mustRefuse(t, s.directory, "of another VM", withParent("other", "diff", uuid.New()))
	mustRefuse(t, s.directory, "is nil", withParent("raw", "diff", uuid.Nil))
	mustRefuse(t, s.directory, "one of the parent's", withParent("raw", "diff", own))
	mustRefuse(t, s.directory, "one of the parent's", withParent("raw", "diff", s.header.Mapping[0].BuildID))
	mustRefuse(t, s.directory, "is an input too", withParent("raw", "raw", uuid.New()))
	for _, source := range files {
		mustRefuse(t, s.directory, "is that of the parent's build", withParent("raw", filepath.Base(source), uuid.New()))
	}
	mustRefuse(t, s.directory, "as diff and as header", full("raw", "same", "same", uuid.New()))
	mustRefuse(t, s.directory, "no such file", withParent("none", "diff", uuid.New()))
	mustRefuse(t, s.directory, "no such file", withParent("raw", "none/diff", uuid.New()))
	mustRefuse(t, s.directory, "0 bytes", full("empty", "diff", MemHeaderName, uuid.New()))
	mustRefuse(t, s.directory, "is nil", full("raw", "diff", MemHeaderName, uuid.Nil))
	mustRefuse(t, s.directory, "is an input too", full("raw", "diff", "raw", uuid.New()))
	mustRefuse(t, s.directory, "not a file", full(".", "diff", MemHeaderName, uuid.New()))
	mustRefuse(t, s.directory, "no such file", full("raw", "diff", "none/header", uuid.New()))

	merge := func(files map[string]string, merged string) func() (*Header, error) {
		return func() (*Header, error) { return MergeDiffs(s.header, files, merged, s.headerPath()) }
	}
	mustRefuse(t, s.directory, "no diff file for build", merge(nil, path("merged")))
	for id, source := range files {
		mustRefuse(t, s.directory, "is an input too", merge(files, source))
		gone := map[string]string{}
		for k, v := range files {
			gone[k] = v
		}
		gone[id] = path("gone")
		mustRefuse(t, s.directory, "no such file", merge(gone, path("merged")))
		info, err := os.Stat(source)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() == 0 {
			continue
		}
		for _, length := range []int64{info.Size() - 1, info.Size() - int64(block), 0} {
			if err := os.Truncate(source, length); err != nil {
				t.Fatal(err)
			}
			h, err := merge(files, path("merged"))()
			// The cut blocks may be dead.
			if err == nil {
				if !bytes.Equal(readMemory(t, h, map[string]string{h.Metadata.BuildID.String(): path("merged")}), s.memory[:s.size]) {
					t.Errorf("'%s' cut to %d bytes, and wrong memory", source, length)
				}
			} else if !strings.Contains(err.Error(), "truncated") {
				t.Errorf("'%s' cut to %d bytes: %v", source, length, err)
			}
		}
		if err := os.WriteFile(source, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADiffDoesNotReplaceTheOnlyFileOfItsParent(t *testing.T) {
	withZeros(t, ZerosWritten)
	s := newSandbox(t, 20*block)
	r := rand.New(rand.NewSource(8))
	s.pause(r)
	if err := os.Rename(MemDiffPathForBuild(s.directory, "", s.header.Metadata.BuildID), MemDiffPath(s.directory, "")); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, s.directory, "is that of the parent's build", func() (*Header, error) {
		return ProcessMemfileWithParent(s.raw(), MemDiffPath(s.directory, ""), s.headerPath(), s.header, uuid.New())
	})
	s.pause(r) // under its own name
}

func TestTheHeaderMayBeTheFileThatItCameFrom(t *testing.T) {
	withZeros(t, ZerosWritten)
	s := newSandbox(t, 40*block)
	r := rand.New(rand.NewSource(4))
	s.pause(r)
	before, err := os.Open(s.headerPath())
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	was, _ := os.ReadFile(s.headerPath())
	s.pause(r)
	s.merge()
	// A reader that has opened the old one reads the old one.
	is := make([]byte, len(was)+1)
	if n, _ := before.ReadAt(is, 0); !bytes.Equal(is[:n], was) {
		t.Error("the open header has changed")
	}
}

func TestTwoBuildsWithoutFilesOfTheirOwnAreRefused(t *testing.T) {
	directory := t.TempDir()
	m := NewMetadata(uuid.New(), uint64(block), 2*uint64(block))
	h, err := NewHeader(m, []*BuildMap{{0, uint64(block), m.BuildID, 0}, {uint64(block), uint64(block), uuid.New(), 0}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(MemDiffPath(directory, ""), make([]byte, block), 0o600); err != nil {
		t.Fatal(err)
	}
	if files, err := ListDiffFiles(directory, "", h); err == nil {
		t.Errorf("%v", files)
	}
	if err := os.WriteFile(MemDiffPathForBuild(directory, "", m.BuildID), make([]byte, block), 0o600); err != nil {
		t.Fatal(err)
	}
	if files, err := ListDiffFiles(directory, "", h); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestHeadersThatDoNotCoverTheMemoryAreRefused(t *testing.T) {
	const b = uint64(4096)
	id := uuid.New()
	for what, records := range map[string][]*BuildMap{
		"a gap":             {{0, b, id, 0}, {2 * b, b, id, b}},
		"an overlap":        {{0, 2 * b, id, 0}, {b, 2 * b, id, b}},
		"not from 0":        {{b, 2 * b, id, 0}},
		"not to the end":    {{0, 2 * b, id, 0}},
		"behind the end":    {{0, 4 * b, id, 0}},
		"a record after it": {{0, 3*b - 100, id, 0}, {3*b - 100, b, id, 0}},
		"empty":             {{0, 0, id, 0}, {0, 3 * b, id, 0}},
		"not whole blocks":  {{0, b + 1, id, 0}, {b + 1, 2*b - 1, id, 0}},
		"storage":           {{0, 3 * b, id, 1}},
		"far storage":       {{0, 3 * b, id, 1 << 63}},
		"overflow":          {{0, b, id, 0}, {b, ^uint64(0) - b + 1, id, 0}},
		"nil":               {nil},
	} {
		m := NewMetadata(id, b, 3*b-100)
		if _, err := NewHeader(m, records); err == nil {
			t.Errorf("%s is accepted", what)
		}
		if what == "nil" {
			if _, err := Serialize(m, records); err == nil {
				t.Error("nil is written")
			}
			continue
		}
		data, err := Serialize(m, records)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Deserialize(data); err == nil {
			t.Errorf("%s is read", what)
		}
	}
	for _, m := range []*Metadata{nil, {BlockSize: 0, Size: b}, {BlockSize: 2048, Size: b}, {BlockSize: 3 * b, Size: b}, {BlockSize: 4 << 20, Size: b}, {BlockSize: b}, {BlockSize: b, Size: 1 << 63}} {
		if _, err := NewHeader(m, nil); err == nil {
			t.Errorf("%+v is accepted", m)
		}
	}
	for _, version := range []uint64{0, 2, 4, 1 << 40} {
		m := NewMetadata(id, b, b)
		m.Version = version
		data, _ := Serialize(m, nil)
		if _, err := Deserialize(data); err == nil {
			t.Errorf("version %d is read", version)
		}
	}
}

func TestTheBuildIDOfALookupIsACopy(t *testing.T) {
	m := NewMetadata(uuid.New(), uint64(block), uint64(block))
	h, err := NewHeader(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _, id, _ := h.GetShiftedMapping(context.Background(), 0)
	*id = uuid.Nil
	if h.Mapping[0].BuildID != m.BuildID {
		t.Error("a caller has changed the header")
	}
}

func TestNeighboursAreJoinedOnlyIfTheirStorageIsAdjacent(t *testing.T) {
	const b = uint64(4096)
	x, y := uuid.New(), uuid.New()
	given := []*BuildMap{{0, b, x, 0}, {b, b, x, b}, {2 * b, b, x, 9 * b}, {3 * b, b, y, 10 * b}, {4 * b, b, uuid.Nil, 5}, {5 * b, b, uuid.Nil, 77 * b}, {7 * b, b, uuid.Nil, 0}}
	want := []BuildMap{{0, 2 * b, x, 0}, {2 * b, b, x, 9 * b}, {3 * b, b, y, 10 * b}, {4 * b, 2 * b, uuid.Nil, 0}, {7 * b, b, uuid.Nil, 0}}
	joined := NormalizeMappings(given)
	if len(joined) != len(want) {
		t.Fatalf("%d records", len(joined))
	}
	for i := range want {
		if *joined[i] != want[i] {
			t.Errorf("record %d: %+v", i, *joined[i])
		}
	}
	if *given[0] != (BuildMap{0, b, x, 0}) {
		t.Error("the input has changed")
	}
}

// Overlays with records of any length, gaps in both, against an array of blocks.
func TestMergeMappingsAgainstAnArray(t *testing.T) {
	r := seeded(t)
	const blocks = 40
	type place struct {
		id      uuid.UUID
		storage uint64
	}
	randomList := func(array []place, seen []bool) (list []*BuildMap) {
		for at := r.Intn(5); at < blocks; at += r.Intn(4) {
			length := 1 + r.Intn(6)
			if at+length > blocks {
				length = blocks - at
			}
			m := &BuildMap{Offset: uint64(at * block), Length: uint64(length * block)}
			if r.Intn(3) > 0 {
				m.BuildID, m.BuildStorageOffset = uuid.New(), uint64(r.Intn(100)*block)
			}
			list = append(list, m)
			for i := 0; i < length; i++ {
				array[at+i], seen[at+i] = place{m.BuildID, m.BuildStorageOffset + uint64(i*block)}, true
			}
			at += length
		}
		return list
	}
	for round := 0; round < 1000; round++ {
		array, seen := make([]place, blocks), make([]bool, blocks)
		base := randomList(array, seen)
		diff := randomList(array, seen)
		got, gotSeen := make([]place, blocks), make([]bool, blocks)
		end := uint64(0)
		for _, list := range [][]*BuildMap{MergeMappings(base, diff), NormalizeMappings(MergeMappings(base, diff))} {
			end = 0
			for i, m := range list {
				if m.Offset < end || m.Length == 0 {
					t.Fatalf("record %d at %#x, the one before ends at %#x", i, m.Offset, end)
				}
				for at := m.Offset; at < m.end(); at += uint64(block) {
					got[at/uint64(block)], gotSeen[at/uint64(block)] = place{m.BuildID, m.BuildStorageOffset + at - m.Offset}, true
				}
				end = m.end()
			}
			for i := range array {
				same := got[i] == array[i] || (got[i].id == uuid.Nil && array[i].id == uuid.Nil)
				if gotSeen[i] != seen[i] || !same {
					t.Fatalf("block %d: %+v, want %+v", i, got[i], array[i])
				}
			}
		}
	}
}

func FuzzDeserialize(f *testing.F) {
	r := rand.New(rand.NewSource(5))
	s := newSandbox(f, 30*block)
	for i := 0; i < 3; i++ {
		s.pause(r)
		data, err := Serialize(s.header.Metadata, s.header.Mapping)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := Deserialize(data)
		if err != nil {
			return
		}
		size := int64(h.Metadata.Size)
		for _, offset := range []int64{0, size / 2, size - 1} {
			if _, left, id, err := h.GetShiftedMapping(context.Background(), offset); err != nil || left <= 0 || id == nil {
				t.Fatalf("offset %#x: %d, %v", offset, left, err)
			}
		}
		if again, err := Serialize(h.Metadata, h.Mapping); err != nil || (len(data) > metadataBytes && !bytes.Equal(again, data)) {
			t.Fatalf("%v, or other bytes", err)
		}
	})
}

// On tmpfs with huge pages, a page that was written makes its neighbours count as written.
func TestADiffWhoseHolesAreNotExactIsRefused(t *testing.T) {
	withZeros(t, ZerosWritten)
	directory := t.TempDir()
	if err := syscall.Mount("none", directory, "tmpfs", 0, "size=64m,huge=always"); err != nil {
		t.Skipf("tmpfs with huge pages cannot be mounted: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(directory, syscall.MNT_DETACH) })
	data := map[int][]byte{1: bytes.Repeat([]byte{1}, block)}
	raw := filepath.Join(directory, "raw")
	writeSparse(t, raw, 8<<20, data)
	parent, err := ProcessMemfile(raw, filepath.Join(directory, "1"), filepath.Join(directory, "h"), uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	writeSparse(t, raw, 8<<20, data)
	id := uuid.New()
	call := func() (*Header, error) {
		return ProcessMemfileWithParent(raw, filepath.Join(directory, "2"), filepath.Join(directory, "h"), parent, id)
	}
	if p, err := probeHoles(directory, 8<<20); err != nil || p.exact {
		t.Skipf("this kernel does not use huge pages here: %v", err)
	}
	mustRefuse(t, directory, "cannot be trusted", call)
	DiffZeros = ZerosInherit // needs no holes
	if h, err := call(); err != nil || h.Metadata.Generation != 1 {
		t.Errorf("%v", err)
	}
}
