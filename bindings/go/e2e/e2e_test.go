// Package e2e has tests only: the Go packages with snapshots of the real lamina program, in both
// directions. They are skipped unless LAMINA names that program (and FAKE_VM, for page faults, the
// stand-in of a VM); ctest sets both.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"lamina/go/reader"
	"lamina/go/wrenn/snapshot"
	"lamina/go/wrenn/uffd"
)

const block = 4096

func program(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Skipf("%s is not set", variable)
	}
	return path
}

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

// guest is a VM's memory and the directory of its snapshots.
type guest struct {
	t      testing.TB
	r      *rand.Rand
	lamina string
	store  string
	raw    string
	memory []byte
}

func newGuest(t testing.TB) *guest {
	g := &guest{t: t, r: seeded(t), lamina: program(t, "LAMINA")}
	directory := t.TempDir()
	g.store, g.raw = filepath.Join(directory, "store"), filepath.Join(directory, "memfile.raw")
	if err := os.Mkdir(g.store, 0o700); err != nil {
		t.Fatal(err)
	}
	g.memory = make([]byte, (100+g.r.Intn(200))*block-g.r.Intn(2)*1000)
	return g
}

func (g *guest) snapshot(name string) string { return filepath.Join(g.store, name) }

// run runs lamina and returns its exit code and output.
func (g *guest) run(arguments ...string) (int, []byte) {
	g.t.Helper()
	command := exec.Command(g.lamina, arguments...)
	var messages bytes.Buffer
	command.Stderr = &messages
	output, err := command.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		g.t.Fatal(err)
	}
	g.t.Logf("lamina %v: %s", arguments, messages.String())
	return command.ProcessState.ExitCode(), output
}

func (g *guest) mustRun(arguments ...string) []byte {
	g.t.Helper()
	code, output := g.run(arguments...)
	if code != 0 {
		g.t.Fatalf("lamina %v: exit code %d", arguments, code)
	}
	return output
}

// dirty changes random blocks, clears others, and writes both as the VMM's diff. The holes of a full
// file are zeros too.
func (g *guest) dirty() {
	g.t.Helper()
	os.Remove(g.raw)
	file, err := os.Create(g.raw)
	if err != nil {
		g.t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(int64(len(g.memory))); err != nil {
		g.t.Fatal(err)
	}
	for at := 0; at < len(g.memory); at += block {
		end := at + block
		if end > len(g.memory) {
			end = len(g.memory)
		}
		switch g.r.Intn(6) {
		case 0:
			g.r.Read(g.memory[at:end])
		case 1:
			copy(g.memory[at:end], make([]byte, block))
		default:
			continue
		}
		if _, err := file.WriteAt(g.memory[at:end], int64(at)); err != nil {
			g.t.Fatal(err)
		}
	}
}

// check reads a snapshot by the Go reader and compares memory, extents and layers.
func (g *guest) check(name string) {
	g.t.Helper()
	s, err := reader.Open(g.snapshot(name))
	if err != nil {
		g.t.Fatal(err)
	}
	defer s.Close()
	memory := make([]byte, s.Size())
	if _, err := s.ReadAt(memory, 0); err != nil {
		g.t.Fatal(err)
	}
	if !bytes.Equal(memory, g.memory) {
		g.t.Fatalf("%s: the memory is wrong", name)
	}
	var described struct {
		Header     string
		BuildID    uuid.UUID `json:"build_id"`
		PauseID    uuid.UUID `json:"pause_id"`
		Generation uint64
		Layers     []struct {
			BuildID   uuid.UUID `json:"build_id"`
			Checksums bool
		}
		Extents []struct {
			Offset, Length int64
			BuildID        *uuid.UUID `json:"build_id"`
			StorageOffset  int64      `json:"storage_offset"`
		}
	}
	if err := json.Unmarshal(g.mustRun("inspect", "--json", "--extents", g.snapshot(name)), &described); err != nil {
		g.t.Fatal(err)
	}
	h := s.Header()
	if h.Format.String() != described.Header || h.BuildID != described.BuildID || s.PauseID() != described.PauseID || h.Generation != described.Generation {
		g.t.Errorf("%s: %+v, lamina says %+v", name, h, described)
	}
	checksums := map[uuid.UUID]bool{}
	for _, layer := range described.Layers {
		checksums[layer.BuildID] = layer.Checksums
	}
	if len(checksums) != s.NumLayers() {
		g.t.Errorf("%s: %d layers, lamina says %d", name, s.NumLayers(), len(checksums))
	}
	for i := 0; i < s.NumLayers(); i++ {
		if layer := s.Layer(i); checksums[layer.BuildID] != layer.HasChecksums {
			g.t.Errorf("%s: %+v", name, layer)
		}
	}
	if len(described.Extents) != h.NumExtents() {
		g.t.Fatalf("%s: %d extents, lamina says %d", name, h.NumExtents(), len(described.Extents))
	}
	for i, want := range described.Extents {
		e := h.Extent(i)
		isZeros := want.BuildID == nil
		if e.Offset != want.Offset || e.Length != want.Length || (e.Layer == reader.Zeros) != isZeros || e.StorageOffset != want.StorageOffset || (!isZeros && h.Layers[e.Layer].BuildID != *want.BuildID) {
			g.t.Errorf("%s: extent %d is %+v, lamina says %+v", name, i, e, want)
		}
	}
}

func TestSnapshotsOfLaminaAreReadRight(t *testing.T) {
	for _, format := range []string{"native", "v1", "v3"} {
		t.Run(format, func(t *testing.T) {
			g := newGuest(t)
			name := ""
			for i := 0; i < 6; i++ {
				g.dirty()
				next := fmt.Sprintf("%s-%d", format, i)
				arguments := []string{"ingest", g.raw, "--out", g.snapshot(next), "--header", format}
				if name != "" {
					arguments = append(arguments, "--parent", g.snapshot(name), "--zeros", "written")
				}
				if g.r.Intn(3) == 0 {
					arguments = append(arguments, "--layout", "adopt", "--consume")
				}
				g.mustRun(arguments...)
				g.check(next)
				name = next
				if i >= 2 && g.r.Intn(2) == 0 {
					if format == "native" {
						g.mustRun("merge", "--layers", "2", g.snapshot(name))
					} else {
						g.mustRun("merge", g.snapshot(name))
					}
					g.check(name)
				}
			}
			g.mustRun("merge", "--full", g.snapshot(name))
			g.check(name)
		})
	}
}

func TestADamagedBlockIsFoundByBoth(t *testing.T) {
	g := newGuest(t)
	g.dirty()
	g.mustRun("ingest", g.raw, "--out", g.snapshot("a"))
	s, err := reader.Open(g.snapshot("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	path := s.Layer(0).Path
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	at := g.r.Int63n(s.Layer(0).DataBytes)
	one := make([]byte, 1)
	if _, err := file.ReadAt(one, at); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 1
	if _, err := file.WriteAt(one, at); err != nil {
		t.Fatal(err)
	}
	if code, _ := g.run("verify", g.snapshot("a")); code != 4 {
		t.Errorf("lamina verify: exit code %d", code)
	}
	_, err = s.ReadAt(make([]byte, s.Size()), 0)
	var known *reader.Error
	if !errors.As(err, &known) || !errors.Is(err, reader.ErrCorrupt) || known.Path != path || known.Offset != at/block*block {
		t.Errorf("%v", err)
	}
}

// wrenn's directories: written by Go, read by lamina, continued by lamina, and read by Go.
func TestWhatThePackageOfWrennWritesLaminaReads(t *testing.T) {
	g := newGuest(t)
	directory := g.snapshot("w")
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	var header *snapshot.Header
	var err error
	headerPath := snapshot.MemHeaderPath(directory, "")
	pause := func() {
		t.Helper()
		g.dirty()
		id := uuid.New()
		diff := snapshot.MemDiffPathForBuild(directory, "", id)
		if header == nil {
			header, err = snapshot.ProcessMemfile(g.raw, diff, headerPath, id)
		} else {
			header, err = snapshot.ProcessMemfileWithParent(g.raw, diff, headerPath, header, id)
		}
		if err != nil {
			t.Fatal(err)
		}
		g.check("w")
		g.checkByLamina("w")
	}
	for i := 0; i < 4; i++ {
		pause()
	}
	g.dirty()
	g.mustRun("ingest", g.raw, "--parent", directory, "--zeros", "written", "--out", g.snapshot("over"))
	g.check("over")
	g.checkByLamina("over")
	g.mustRun("merge", g.snapshot("over"))
	g.check("over")

	// The memory of "w" is the one before that diff; a merge must not change it.
	files, err := snapshot.ListDiffFiles(directory, "", header)
	if err != nil {
		t.Fatal(err)
	}
	if g.memory, err = readAll(header, files); err != nil {
		t.Fatal(err)
	}
	if header, err = snapshot.MergeDiffs(header, files, snapshot.MemDiffPath(directory, ""), headerPath); err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	g.check("w")
	g.checkByLamina("w")
	if err := os.Rename(snapshot.MemDiffPath(directory, ""), snapshot.MemDiffPathForBuild(directory, "", header.Metadata.BuildID)); err != nil {
		t.Fatal(err)
	}
	pause()
}

// Layers that lamina wrote have a trailer behind the data, which wrenn's headers do not refer to.
func TestWhatLaminaWritesThePackageOfWrennReads(t *testing.T) {
	g := newGuest(t)
	g.dirty()
	g.mustRun("ingest", g.raw, "--out", g.snapshot("a"), "--header", "v1")
	g.dirty()
	g.mustRun("ingest", g.raw, "--out", g.snapshot("b"), "--header", "v1", "--parent", g.snapshot("a"), "--zeros", "written")
	data, err := os.ReadFile(snapshot.MemHeaderPath(g.store, "b"))
	if err != nil {
		t.Fatal(err)
	}
	header, err := snapshot.Deserialize(data)
	if err != nil {
		t.Fatal(err)
	}
	files, err := snapshot.ListDiffFiles(g.store, "b", header)
	if err != nil {
		t.Fatal(err)
	}
	if memory, err := readAll(header, files); err != nil || !bytes.Equal(memory, g.memory) {
		t.Errorf("%v, or the memory is wrong", err)
	}
	directory := t.TempDir()
	merged := filepath.Join(directory, "merged")
	if header, err = snapshot.MergeDiffs(header, files, merged, filepath.Join(directory, "header")); err != nil {
		t.Fatal(err)
	}
	if memory, err := readAll(header, map[string]string{header.Metadata.BuildID.String(): merged}); err != nil || !bytes.Equal(memory, g.memory) {
		t.Errorf("merged: %v, or the memory is wrong", err)
	}
}

func readAll(header *snapshot.Header, files map[string]string) ([]byte, error) {
	source, err := uffd.NewDiffFileSource(header, files)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	return source.ReadPage(context.Background(), 0, source.Size())
}

// checkByLamina compares the file that lamina materializes.
func (g *guest) checkByLamina(name string) {
	g.t.Helper()
	out := filepath.Join(g.t.TempDir(), "out")
	g.mustRun("materialize", g.snapshot(name), "--out", out)
	data, err := os.ReadFile(out)
	if err != nil {
		g.t.Fatal(err)
	}
	if !bytes.Equal(data, g.memory) {
		g.t.Fatalf("%s: lamina reads other memory", name)
	}
}

func TestTheVMOfTheTestsIsServed(t *testing.T) {
	fakeVM := program(t, "FAKE_VM")
	g := newGuest(t)
	g.memory = make([]byte, 4<<20)
	for i, name := range []string{"a", "b", "c"} {
		g.dirty()
		arguments := []string{"ingest", g.raw, "--out", g.snapshot(name)}
		if i > 0 {
			arguments = append(arguments, "--parent", g.snapshot([]string{"a", "b"}[i-1]), "--zeros", "written")
		}
		g.mustRun(arguments...)
	}
	s, err := reader.Open(g.snapshot("c"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	truth := filepath.Join(t.TempDir(), "truth")
	if err := os.WriteFile(truth, g.memory, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, handshake := range []string{"plain", "pieces", "several-descriptors", "empty-first"} {
		t.Run(handshake, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			server := uffd.NewServer(socket, uffd.NewReaderSource(s, s.Size()))
			if err := server.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			defer server.Stop()
			if handshake != "plain" {
				server.Prefetch()
			}
			vm := exec.Command(fakeVM, "--socket", socket, "--truth", truth, "--regions", "1048576", "3145728@1048576",
				"--threads", "4", "--operations", "2000", "--handshake", handshake, "--seed", "7", "--timeout", "60")
			if output, err := vm.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, output)
			}
			if err := server.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A VM whose handshake is refused would wait for its memory for ever, so it is killed. One that has
// handed over no userfaultfd is left alone.
func TestVMsThatMisbehaveAreKilledAndReported(t *testing.T) {
	fakeVM := program(t, "FAKE_VM")
	memory := make([]byte, 1<<20)
	seeded(t).Read(memory)
	truth := filepath.Join(t.TempDir(), "truth")
	if err := os.WriteFile(truth, memory, 0o600); err != nil {
		t.Fatal(err)
	}
	isKilled := map[string]bool{"no-descriptor": false, "pipe": false, "regular-file": false}
	for _, kind := range []string{"endless", "scalar", "no-regions", "many-regions", "huge-size", "huge-offset",
		"huge-address", "huge-number", "negative", "float", "empty-region", "unaligned", "beyond", "overlapping",
		"shared-offsets", "fork"} {
		isKilled[kind] = true
	}
	for kind, killed := range isKilled {
		socket := filepath.Join(t.TempDir(), "s")
		server := uffd.NewServer(socket, uffd.NewReaderSource(bytes.NewReader(memory), int64(len(memory))))
		if err := server.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		vm := exec.Command(fakeVM, "--socket", socket, "--truth", truth, "--regions", "1048576", "--misbehave", kind, "--timeout", "30")
		output, _ := vm.CombinedOutput()
		status, ok := vm.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || killed != (status.Signaled() && status.Signal() == syscall.SIGKILL) {
			t.Errorf("%s: the VM ended with %v: %s", kind, vm.ProcessState, output)
		}
		err := server.Wait()
		if err == nil || killed != strings.Contains(err.Error(), "was killed") {
			t.Errorf("%s: %v", kind, err)
		}
		t.Logf("%s: %v", kind, err)
	}
}
