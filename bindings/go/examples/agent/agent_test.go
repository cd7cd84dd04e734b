package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"lamina/go/internal/livetest"
	"lamina/go/lamina"
)

// host runs the agent on a host with a real daemon.
type host struct {
	*livetest.Host
	t *testing.T
}

func newHost(t *testing.T, options ...string) host {
	t.Helper()
	return host{livetest.Start(t, options...), t}
}

func (h host) control(name string) string { return filepath.Join(h.Directory, name+".control") }

// agent runs one command; returns what it printed.
func (h host) agent(words ...string) (string, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	arguments := append([]string{"-daemon", h.Socket, "-run", h.Directory,
		"-vmm", h.VMM + " --api-sock {socket} --control " + h.control("{name}")}, words...)
	err := run(ctx, arguments, &out)
	for _, found := range regexp.MustCompile(`process (\d+),`).FindAllStringSubmatch(out.String(), -1) {
		if pid, err := strconv.Atoi(found[1]); err == nil {
			h.KillAtEnd(pid)
		}
	}
	return out.String(), err
}

// done runs one command that must succeed and print what matches.
func (h host) done(pattern string, words ...string) {
	h.t.Helper()
	out, err := h.agent(words...)
	if err != nil || !regexp.MustCompile(pattern).MatchString(out) {
		h.t.Fatalf("agent %s: %v; it printed %q, not %q", strings.Join(words, " "), err, out, pattern)
	}
}

// check compares each byte of a guest's memory with what it must be.
func (h host) check(name string) {
	h.t.Helper()
	h.Control(h.control(name), "check")
}

func TestVMIsPausedResumedAndForkedTenTimes(t *testing.T) {
	h := newHost(t)
	api, control := h.StartVM("first")
	h.Control(control, "run 300 1")
	h.done(`^web: full, generation 0, `, "checkpoint", "web", api)
	h.Control(control, "run 50 2")
	h.done(`^web: diff, generation 1, `, "pause", "web", api)

	h.done(`^web: process \d+, API at \S+/web.sock, memory by `, "resume", "web")
	h.check("web")
	h.Control(h.control("web"), "run 20 3")
	h.check("web")

	const copies = 10
	h.done(fmt.Sprintf(`^(web-\d+: process \d+, .*\n){%d}$`, copies), "fork", "web", strconv.Itoa(copies))
	for i := 1; i <= copies; i++ {
		name := "web-" + strconv.Itoa(i)
		h.check(name)
		h.Control(h.control(name), fmt.Sprintf("run 20 %d", i))
		h.check(name)
	}
	h.done(`^snapshots 11, \S+ MiB; running VMs 11\npauses 1 full, 1 diff; frozen for \S+ ms on average\n$`, "metrics")
}

func TestFailedCommandLeavesNothing(t *testing.T) {
	h := newHost(t)
	if _, err := h.agent("resume", "web"); exitCode(err) != 3 || !errors.Is(err, lamina.KindNotFound) {
		t.Error(err)
	}
	if _, err := h.agent("fork", "web", "3"); exitCode(err) != 3 || !strings.HasPrefix(err.Error(), "3 of 3 copies do not run: ") {
		t.Error(err)
	}
	api, _ := h.StartVM("first")
	h.done(`^web: full, `, "pause", "web", api)
	// The VMM does not start: the forks are removed again.
	broken := host{h.Host, t}
	broken.VMM = "/bin/false"
	if _, err := broken.agent("fork", "web", "2"); exitCode(err) != 1 || !strings.Contains(err.Error(), "'/bin/false' has ended") {
		t.Error(err)
	}
	listing, err := lamina.New(h.Socket).List(context.Background(), lamina.ListParams{})
	if err != nil || len(listing.Snapshots) != 1 || len(listing.Pins) != 0 {
		t.Errorf("%+v, %v", listing, err)
	}
	if sockets, _ := filepath.Glob(filepath.Join(h.Directory, "web*.sock")); len(sockets) != 0 {
		t.Error(sockets)
	}
}

func TestVMMThatDoesNotListenIsEndedWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	word := fmt.Sprintf("1000.%d", os.Getpid()) // seconds, and a mark of this test
	if _, err := startVMM(ctx, "sleep "+word, t.TempDir(), "vm"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && string(text) == "sleep\x00"+word+"\x00" {
			t.Errorf("it still runs: %s", file)
		}
	}
}

func TestUsageIsShown(t *testing.T) {
	for _, words := range [][]string{{}, {"pause", "web"}, {"fork", "web", "no"}, {"fork", "web", "0"}, {"-nothing"}, {"-vmm", "", "-run", t.TempDir(), "resume", "x"}} {
		var out bytes.Buffer
		if err := run(context.Background(), words, &out); exitCode(err) != 2 {
			t.Errorf("%q: %v", words, err)
		}
	}
}
