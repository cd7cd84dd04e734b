// Package livetest starts a real laminad and VMs for tests. The VMs are lamina's stand-in for
// Firecracker (tests/stand_ins), whose guest knows what each byte of its memory must be.
//
// Environment: LAMINAD and FAKE_FIRECRACKER are the programs. ctest sets them. Without them the
// tests are skipped; with LAMINA_GO_TEST_ALL too, they fail.
package livetest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const limit = 60 * time.Second

// Host is a directory with a store, and a daemon that keeps the store.
type Host struct {
	// Directory is empty but for the store, with a short path.
	Directory string
	Store     string
	// Socket is the daemon's.
	Socket string
	// VMM is the program that plays Firecracker.
	VMM string

	t      *testing.T
	daemon *process
}

// Start returns a host whose daemon listens. All processes that it has started, and the store's
// page server, end with the test.
func Start(t *testing.T, options ...string) *Host {
	t.Helper()
	vmm := program(t, "FAKE_FIRECRACKER")
	program(t, "LAMINAD")
	directory, err := os.MkdirTemp("", "lamina")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	h := &Host{
		Directory: directory,
		Store:     filepath.Join(directory, "store"),
		Socket:    filepath.Join(directory, "laminad.sock"),
		VMM:       vmm,
		t:         t,
	}
	if err := os.Mkdir(h.Store, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.killPageServers)
	h.StartDaemon(options...)
	return h
}

// program returns the path of a program that is named by the environment.
func program(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" && os.Getenv("LAMINA_GO_TEST_ALL") == "" {
		t.Skipf("%s is not set: ctest sets it", variable)
	}
	if path == "" {
		t.Fatalf("%s is not set", variable)
	}
	return path
}

// StartDaemon starts the daemon again after KillDaemon.
func (h *Host) StartDaemon(options ...string) {
	h.t.Helper()
	arguments := append([]string{"--store", h.Store, "--listen", "unix:" + h.Socket}, options...)
	h.daemon = start(h.t, isReadyDaemon, program(h.t, "LAMINAD"), arguments...)
}

func isReadyDaemon(line string) bool {
	var entry struct{ Event string }
	return json.Unmarshal([]byte(line), &entry) == nil && entry.Event == "ready"
}

func isReadyVMM(line string) bool { return strings.HasPrefix(line, "ready ") }

// KillDaemon kills the daemon.
func (h *Host) KillDaemon() { h.daemon.kill() }

// StartVM starts a VM with a guest that runs; returns its API's socket and the socket for Control.
// The options are those of the stand-in.
func (h *Host) StartVM(name string, options ...string) (api, control string) {
	h.t.Helper()
	const memoryMiB = 16
	api, control = filepath.Join(h.Directory, name+".api"), filepath.Join(h.Directory, name+".control")
	arguments := append([]string{"--start", "--memory-mib", strconv.Itoa(memoryMiB), "--api-sock", api, "--control", control}, options...)
	start(h.t, isReadyVMM, h.VMM, arguments...)
	return api, control
}

// Control sends a line to a stand-in (tests/stand_ins/firecracker/control.h has the lines), which
// must be answered with ok; returns the rest of the answer.
func (h *Host) Control(socket, line string) string {
	h.t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		h.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		h.t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(answer, "ok") {
		h.t.Fatalf("%s: %q, %v", line, answer, err)
	}
	return strings.TrimSpace(strings.TrimPrefix(answer, "ok"))
}

// WaitHeld waits until a stand-in holds a request (option --fail create-hang).
func (h *Host) WaitHeld(control string) {
	h.t.Helper()
	for deadline := time.Now().Add(limit); h.Control(control, "held") != "yes"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatal("no request is held")
		}
	}
}

// KillAtEnd kills a process when the test ends, which another program has started.
func (h *Host) KillAtEnd(pid int) {
	h.t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
}

// killPageServers kills the processes that serve the store: they outlive the daemon.
func (h *Host) killPageServers() {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		servers := h.pageServers()
		if len(servers) == 0 {
			return
		}
		for _, pid := range servers {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	h.t.Errorf("page servers of '%s' cannot be killed", h.Store)
}

func (h *Host) pageServers() []int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		words := map[string]bool{}
		for _, word := range bytes.Split(text, []byte{0}) {
			words[string(word)] = true
		}
		if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil && words["serve"] && words[h.Store] {
			found = append(found, pid)
		}
	}
	return found
}

// process is a program that the test has started.
type process struct {
	command *exec.Cmd

	mutex sync.Mutex // guards said
	said  bytes.Buffer
}

// start runs a program until the test ends, and returns when it has printed a line that is ready.
func start(t *testing.T, isReady func(line string) bool, path string, arguments ...string) *process {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{command: exec.Command(path, arguments...)}
	p.command.Stdout, p.command.Stderr = writer, writer
	err = p.command.Start()
	writer.Close()
	if err != nil {
		reader.Close()
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	ready, silent := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(silent)
		defer reader.Close()
		lines := bufio.NewScanner(reader)
		for told := false; lines.Scan(); {
			p.mutex.Lock()
			p.said.WriteString(lines.Text() + "\n")
			p.mutex.Unlock()
			if !told && isReady(lines.Text()) {
				told = true
				close(ready)
			}
		}
	}()
	select {
	case <-ready:
		return p
	case <-silent:
	case <-time.After(limit):
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	t.Fatalf("%s does not start; it said: %s", path, p.said.String())
	return nil
}

func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}
