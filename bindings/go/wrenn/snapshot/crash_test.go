package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// This program, started again under strace, makes a generation or merges, and is killed at the n-th
// system call that changes files, or that call fails. Whatever is left must be the old state or the
// new one.

const stepEnvironment = "LAMINA_SNAPSHOT_TEST_STEP"

var stepID = uuid.MustParse("5a5a5a5a-5a5a-4a5a-8a5a-5a5a5a5a5a5a")

func TestMain(m *testing.M) {
	if step := os.Getenv(stepEnvironment); step != "" {
		runtime.LockOSThread() // strace counts the calls of each thread
		if err := takeStep(step); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// takeStep works in the current directory.
func takeStep(step string) error {
	data, err := os.ReadFile(MemHeaderName)
	if err != nil {
		return err
	}
	parent, err := Deserialize(data)
	if err != nil {
		return err
	}
	if step == "diff" {
		_, err = ProcessMemfileWithParent("memfile.raw", MemDiffPathForBuild(".", "", stepID), MemHeaderName, parent, stepID)
		return err
	}
	files, err := ListDiffFiles(".", "", parent)
	if err != nil {
		return err
	}
	_, err = MergeDiffs(parent, files, MemDiffName, MemHeaderName)
	return err
}

// stepState is a directory before a step, and the memory before and after it.
type stepState struct {
	files       map[string][]byte
	raw         map[int][]byte
	size        int
	before      []byte
	after       []byte
	headerBytes string
}

func newStepState(t *testing.T) *stepState {
	s := newSandbox(t, 40*block-700)
	r := rand.New(rand.NewSource(6))
	for i := 0; i < 3; i++ {
		s.pause(r)
	}
	state := &stepState{files: map[string][]byte{}, size: s.size, before: append([]byte(nil), s.memory[:s.size]...)}
	entries, err := os.ReadDir(s.directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "memfile.raw" {
			if state.files[entry.Name()], err = os.ReadFile(filepath.Join(s.directory, entry.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	state.headerBytes = string(state.files[MemHeaderName])
	state.raw = map[int][]byte{3: bytes.Repeat([]byte{3}, block), 8: make([]byte, block), 20: bytes.Repeat([]byte{20}, block)}
	state.after = append([]byte(nil), state.before...)
	for n, data := range state.raw {
		copy(state.after[n*block:], data)
	}
	return state
}

// write makes the directory.
func (s *stepState) write(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	for name, data := range s.files {
		if err := os.WriteFile(filepath.Join(directory, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeSparse(t, filepath.Join(directory, "memfile.raw"), s.size, s.raw)
	return directory
}

// check compares the memory with the state that the header on the disk is of, and returns whether that
// is the old one.
func (s *stepState) check(t *testing.T, directory, step, when string) bool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(directory, MemHeaderName))
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	isOld := string(data) == s.headerBytes
	h, err := Deserialize(data)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	files, err := ListDiffFiles(directory, "", h)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	want := s.before
	if step == "diff" && !isOld {
		want = s.after
	}
	if !bytes.Equal(readMemory(t, h, files), want) {
		t.Fatalf("%s: the memory is wrong (the header is the old one: %v)", when, isOld)
	}
	return isOld
}

func (s *stepState) hasLeftover(t *testing.T, directory string) bool {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			return true
		}
	}
	return false
}

func TestAKilledOrFailedStepLeavesTheOldStateOrTheNewOne(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace here")
	}
	state := newStepState(t)
	for _, step := range []string{"diff", "merge"} {
		for _, fault := range []string{"signal=SIGKILL", "error=EIO"} {
			// strace counts each system call by itself.
			for call, least := range map[string]int{"write": 2, "fsync": 4, "renameat": 2} {
				if tried := state.tryAll(t, strace, step, call, fault); tried < least {
					t.Errorf("%s, %s of %s: %d calls were tried", step, fault, call, tried)
				}
			}
		}
	}
}

// tryAll lets the first, second, … of a system call fail, until there is none left; returns how many
// there were.
func (s *stepState) tryAll(t *testing.T, strace, step, call, fault string) int {
	t.Helper()
	const most = 30
	for n := 1; n < most; n++ {
		directory := s.write(t)
		command := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call,
			"-e", fmt.Sprintf("inject=%s:%s:when=%d", call, fault, n), os.Args[0])
		command.Dir = directory
		command.Env = append(os.Environ(), stepEnvironment+"="+step)
		output, err := command.CombinedOutput()
		when := fmt.Sprintf("%s, %s of %s %d (%s)", step, fault, call, n, strings.TrimSpace(string(output)))
		if strings.Contains(string(output), "ptrace") {
			t.Skipf("strace cannot be used here: %s", output)
		}
		isOld := s.check(t, directory, step, when)
		if err == nil {
			if isOld {
				t.Fatalf("%s: success, and the old header", when)
			}
			return n - 1
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("%s: %v", when, err)
		}
		if fault == "error=EIO" && s.hasLeftover(t, directory) {
			t.Errorf("%s: a file is left", when)
		}
	}
	return most
}
