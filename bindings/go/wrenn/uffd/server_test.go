package uffd

import (
	"bytes"
	"context"
	"errors"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"lamina/go/wrenn/snapshot"
)

// chain makes three generations in a directory and returns the header, the files and the memory.
func chain(t testing.TB, r *rand.Rand, size int) (*snapshot.Header, map[string]string, []byte) {
	t.Helper()
	directory := t.TempDir()
	memory := make([]byte, size)
	raw, headerPath := filepath.Join(directory, "memfile.raw"), snapshot.MemHeaderPath(directory, "")
	var header *snapshot.Header
	for generation := 0; generation < 3; generation++ {
		os.Remove(raw)
		file, err := os.Create(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Truncate(int64(size)); err != nil {
			t.Fatal(err)
		}
		for at := 0; at < size; at += smallPage {
			end := at + smallPage
			if end > size {
				end = size
			}
			switch r.Intn(4) {
			case 0:
				r.Read(memory[at:end])
			case 1:
				copy(memory[at:end], make([]byte, smallPage))
			default:
				continue
			}
			if _, err := file.WriteAt(memory[at:end], int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		file.Close()
		id := uuid.New()
		diff := snapshot.MemDiffPathForBuild(directory, "", id)
		if header == nil {
			header, err = snapshot.ProcessMemfile(raw, diff, headerPath, id)
		} else {
			header, err = snapshot.ProcessMemfileWithParent(raw, diff, headerPath, header, id)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	files, err := snapshot.ListDiffFiles(directory, "", header)
	if err != nil {
		t.Fatal(err)
	}
	return header, files, memory
}

func chainSource(t testing.TB, r *rand.Rand, size int) (*DiffFileSource, []byte) {
	t.Helper()
	header, files, memory := chain(t, r, size)
	source, err := NewDiffFileSource(header, files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close() })
	return source, memory
}

// testVM is a started VM.
type testVM struct {
	command *exec.Cmd
	output  bytes.Buffer
}

func startVM(t testing.TB, socket string, truth []byte, page, action string) *testVM {
	t.Helper()
	path := filepath.Join(t.TempDir(), "truth")
	if err := os.WriteFile(path, truth, 0o600); err != nil {
		t.Fatal(err)
	}
	vm := &testVM{command: exec.Command(os.Args[0])}
	// The race detector would wait a second at the VM's end.
	vm.command.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", vmEnvironment+"="+strings.Join([]string{socket, path, page, action}, "|"))
	vm.command.Stdout, vm.command.Stderr = &vm.output, &vm.output
	if err := vm.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vm.command.Process.Kill() })
	return vm
}

func (vm *testVM) mustEndWell(t testing.TB) {
	t.Helper()
	if err := vm.command.Wait(); err != nil {
		t.Fatalf("the VM: %v: %s", err, vm.output.String())
	}
}

func (vm *testVM) mustBeKilled(t testing.TB) {
	t.Helper()
	err := vm.command.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("the VM ended with %v: %s", err, vm.output.String())
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the VM ended with %v: %s", err, vm.output.String())
	}
}

func needUserfaultfd(t testing.TB) {
	t.Helper()
	fd, err := newUserfaultfd()
	if err != nil {
		t.Skipf("no userfaultfd here: %v", err)
	}
	syscall.Close(fd)
}

func startServer(t testing.TB, source MemorySource) (*Server, string) {
	t.Helper()
	needUserfaultfd(t)
	socket := filepath.Join(t.TempDir(), "s")
	server := NewServer(socket, source)
	if err := server.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	return server, socket
}

func TestEveryPageIsServedRight(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for _, action := range []string{"read", "one region", "write", "remove"} {
		for _, prefetch := range []bool{false, true} {
			name := action
			if prefetch {
				name += ", prefetch"
			}
			t.Run(name, func(t *testing.T) {
				source, memory := chainSource(t, r, 2<<20-smallPage*3-100)
				server, socket := startServer(t, source)
				if prefetch {
					server.Prefetch()
				}
				vm := startVM(t, socket, memory, "4096", action)
				vm.mustEndWell(t)
				if err := server.Wait(); err != nil {
					t.Error(err)
				}
				select {
				case <-server.Ready():
				default:
					t.Error("not ready")
				}
				if _, err := os.Lstat(socket); !os.IsNotExist(err) {
					t.Errorf("the socket is left: %v", err)
				}
			})
		}
	}
}

// reserveHugePages reserves pages of 2 MiB for a test. Other tests that do so wait at the same lock.
func reserveHugePages(t *testing.T, count int) {
	t.Helper()
	const path = "/proc/sys/vm/nr_hugepages"
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no huge pages here: %v", err)
	}
	t.Cleanup(func() { file.Close() })
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	number := func() int {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		value, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	before := number()
	t.Cleanup(func() { os.WriteFile(path, []byte(strconv.Itoa(before)), 0) })
	if before < count {
		os.WriteFile(path, []byte(strconv.Itoa(count)), 0)
	}
	if number() < count {
		t.Skip("no huge pages here")
	}
}

func TestHugePagesAreServedRight(t *testing.T) {
	const pages = 3
	reserveHugePages(t, pages+1)
	for _, action := range []string{"read", "remove"} {
		source, memory := chainSource(t, rand.New(rand.NewSource(2)), pages*hugePage-5*smallPage)
		server, socket := startServer(t, source)
		startVM(t, socket, memory, "2097152", action).mustEndWell(t)
		if err := server.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestAReaderIsServedThroughNewReaderSource(t *testing.T) {
	memory := make([]byte, 64*smallPage-10)
	rand.New(rand.NewSource(3)).Read(memory)
	server, socket := startServer(t, NewReaderSource(bytes.NewReader(memory), int64(len(memory))))
	server.Prefetch()
	startVM(t, socket, memory, "4096", "read").mustEndWell(t)
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}

// badSource fails from some page on.
type badSource struct {
	good  MemorySource
	from  int64
	reads int32
	short bool
}

func (s *badSource) Size() int64 { return s.good.(interface{ Size() int64 }).Size() }

func (s *badSource) ReadPage(ctx context.Context, offset, size int64) ([]byte, error) {
	if offset < s.from {
		return s.good.ReadPage(ctx, offset, size)
	}
	atomic.AddInt32(&s.reads, 1)
	if s.short {
		return make([]byte, size-1), nil
	}
	return nil, errors.New("block does not match its checksum")
}

func TestAVMThatCannotBeServedIsKilled(t *testing.T) {
	for i := 0; i < 8; i++ {
		short := i%2 == 1
		good, memory := chainSource(t, rand.New(rand.NewSource(4)), 100*smallPage)
		source := &badSource{good: good, from: 50 * smallPage, short: short}
		server, socket := startServer(t, source)
		startVM(t, socket, memory, "4096", "read").mustBeKilled(t)
		err := server.Wait()
		want := "does not match its checksum"
		if short {
			want = "gave 4095 bytes"
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "was killed") {
			t.Errorf("%v", err)
		}
		if reads := atomic.LoadInt32(&source.reads); reads != readAttempts {
			t.Errorf("%d reads", reads)
		}
	}
}

func TestAnInvalidHandshakeKillsTheVMThatWouldHang(t *testing.T) {
	for action, want := range map[string]string{
		"handshake beyond":   "exceed the memory",
		"handshake nonsense": "not a list of regions",
		"handshake endless":  "are not a list of regions",
	} {
		source, memory := chainSource(t, rand.New(rand.NewSource(5)), 30*smallPage)
		server, socket := startServer(t, source)
		startVM(t, socket, memory, "4096", action).mustBeKilled(t)
		if err := server.Wait(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", action, err)
		}
	}
}

func TestAPeerWithoutAUserfaultfdIsRefused(t *testing.T) {
	source, _ := chainSource(t, rand.New(rand.NewSource(6)), smallPage)
	for what, rights := range map[string][]byte{"none": nil, "not a userfaultfd": syscall.UnixRights(0, 1, 2)} {
		server, socket := startServer(t, source)
		connection, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := connection.WriteMsgUnix([]byte(`[{"base_host_virt_addr": 4096, "size": 4096, "offset": 0, "page_size_kib": 4096}]`), rights, nil); err != nil {
			t.Fatal(err)
		}
		if err := server.Wait(); err == nil || !strings.Contains(err.Error(), "descriptor") {
			t.Errorf("%s: %v", what, err)
		}
		connection.Close()
	}
}

func TestAPeerThatSaysNothingDoesNotEndTheServer(t *testing.T) {
	source, memory := chainSource(t, rand.New(rand.NewSource(7)), 20*smallPage)
	server, socket := startServer(t, source)
	for i := 0; i < 3; i++ {
		connection, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		connection.Close()
	}
	startVM(t, socket, memory, "4096", "read").mustEndWell(t)
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}

func TestStopEndsAServerWithoutAVM(t *testing.T) {
	source, _ := chainSource(t, rand.New(rand.NewSource(8)), smallPage)
	server, socket := startServer(t, source)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if err := server.Start(context.Background()); err == nil {
		t.Error("it is started twice")
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
	<-server.Ready()
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
}

func TestACancelledContextEndsTheServerAmidAHandshake(t *testing.T) {
	needUserfaultfd(t)
	source, _ := chainSource(t, rand.New(rand.NewSource(9)), smallPage)
	socket := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	server := NewServer(socket, source)
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	connection, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := connection.Write([]byte("[")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}

func TestStopWhileAVMIsServed(t *testing.T) {
	source, memory := chainSource(t, rand.New(rand.NewSource(10)), 1000*smallPage)
	server, socket := startServer(t, source)
	vm := startVM(t, socket, memory, "4096", "read")
	<-server.Ready()
	server.Prefetch()
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
	vm.command.Process.Kill()
	vm.command.Wait()
}

func TestASocketThatADeadServerLeftIsReplaced(t *testing.T) {
	source, _ := chainSource(t, rand.New(rand.NewSource(11)), smallPage)
	socket := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	server := NewServer(socket, source)
	if err := server.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := os.WriteFile(socket, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := NewServer(socket, source).Start(context.Background()); err == nil {
		t.Error("a file is replaced")
	}
}
