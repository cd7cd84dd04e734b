// Command agent is an example of what runs on each host of a sandbox service: it starts VMMs, and
// asks laminad to pause and resume their VMs. Run it without arguments for its usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"lamina/go/lamina"
)

const usage = `Usage: agent [OPTION]… VERB

  pause NAME API-SOCKET        pauses a VM into the snapshot NAME, and ends the VM
  checkpoint NAME API-SOCKET   the same, but the VM runs on
  resume NAME                  starts a VMM, and resumes NAME in it
  fork NAME COUNT              the same for COUNT copies of NAME: NAME-1, NAME-2, …
  metrics                      shows figures of the daemon

`

var errUsage = errors.New("wrong usage")

// agent does the work of one command.
type agent struct {
	client    *lamina.Client
	command   string // of the VMM; see startVMM
	directory string // for sockets and logs of VMMs
	out       io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
	}
	os.Exit(exitCode(err))
}

// exitCode maps errors as the lamina command does.
func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage), errors.Is(err, lamina.KindUsage):
		return 2
	case errors.Is(err, lamina.KindNotFound):
		return 3
	case errors.Is(err, lamina.KindBusy):
		return 5
	default:
		return 1
	}
}

func run(ctx context.Context, arguments []string, out io.Writer) error {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprint(out, usage)
		flags.PrintDefaults()
	}
	socket := flags.String("daemon", lamina.DefaultSocket, "socket of laminad")
	command := flags.String("vmm", "firecracker --api-sock {socket}", "command that starts a VMM; {name} and {socket} are replaced")
	directory := flags.String("run", "/run/lamina-agent", "directory for sockets and logs of VMMs")
	if err := flags.Parse(arguments); err != nil {
		return fmt.Errorf("%w: %v", errUsage, err)
	}
	a := &agent{lamina.New(*socket), *command, *directory, out}
	words := flags.Args()
	switch {
	case len(words) == 3 && words[0] == "pause":
		return a.pause(ctx, words[1], words[2], lamina.PauseAfterStop)
	case len(words) == 3 && words[0] == "checkpoint":
		return a.pause(ctx, words[1], words[2], lamina.PauseAfterResume)
	case len(words) == 2 && words[0] == "resume":
		line, err := a.resume(ctx, words[1])
		fmt.Fprint(out, line)
		return err
	case len(words) == 3 && words[0] == "fork":
		count, err := strconv.Atoi(words[2])
		if err != nil || count < 1 {
			return fmt.Errorf("%w: COUNT is '%s', not a number of copies", errUsage, words[2])
		}
		return a.fork(ctx, words[1], count)
	case len(words) == 1 && words[0] == "metrics":
		return a.metrics(ctx)
	}
	flags.Usage()
	return errUsage
}

// pause stores a VM's memory. If the reply is missing (lamina.ErrOutcomeUnknown), the pause is not
// repeated: a second one would store a later state.
func (a *agent) pause(ctx context.Context, name, apiSocket string, after lamina.PauseAfter) error {
	// The daemon's working directory is another one.
	path, err := filepath.Abs(apiSocket)
	if err != nil {
		return err
	}
	report, err := a.client.Pause(ctx, lamina.PauseRequest{APISocket: path, Name: name, After: after})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: %s, generation %d, %.1f of %.1f MiB stored, frozen for %.1f ms\n", report.Snapshot, report.Kind,
		report.Generation, mib(report.StoredBytes), mib(report.MemoryBytes), report.Phases.FrozenMs)
	return nil
}

// resume starts a VMM and resumes a snapshot in it; returns a line about it. If that fails, the VMM
// is ended.
func (a *agent) resume(ctx context.Context, name string) (string, error) {
	machine, err := startVMM(ctx, a.command, a.directory, name)
	if err != nil {
		return "", err
	}
	report, err := a.client.Resume(ctx, lamina.ResumeRequest{APISocket: machine.socket, Name: name})
	if err != nil {
		// Also if the outcome is unknown: once the process has ended, the VM does not run twice.
		machine.end()
		return "", err
	}
	return fmt.Sprintf("%s: process %d, API at %s, memory by %s, resumed in %.1f ms\n", name, report.PID, machine.socket,
		report.Mode, report.PinMs+report.PrepareMs+report.LoadMs+report.ResumeMs), nil
}

// fork resumes copies of a snapshot, some at a time. A real agent would also give each copy a
// network device of its own (ResumeRequest.NetworkOverride).
func (a *agent) fork(ctx context.Context, name string, count int) error {
	const atATime = 4
	slots := make(chan struct{}, atATime)
	lines, failures := make([]string, count), make([]error, count)
	var copies sync.WaitGroup
	for i := 0; i < count; i++ {
		copies.Add(1)
		slots <- struct{}{}
		go func(i int) {
			defer copies.Done()
			lines[i], failures[i] = a.forkOne(ctx, name, fmt.Sprintf("%s-%d", name, i+1))
			<-slots
		}(i)
	}
	copies.Wait()
	failed := 0
	var last error
	for i, err := range failures {
		fmt.Fprint(a.out, lines[i])
		if err != nil {
			failed++
			last = err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d copies do not run: %w", failed, count, last)
	}
	return nil
}

func (a *agent) forkOne(ctx context.Context, source, name string) (string, error) {
	if _, err := a.client.Fork(ctx, lamina.ForkRequest{Snapshot: source, New: name}); err != nil {
		return "", err
	}
	line, err := a.resume(ctx, name)
	if err == nil {
		return line, nil
	}
	// The context may be done already. What was begun is undone all the same.
	undo, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, undoError := a.client.Remove(undo, name, lamina.RemoveParams{}); undoError != nil {
		return "", fmt.Errorf("%w (and the fork '%s' is left: %v)", err, name, undoError)
	}
	return "", err
}

func (a *agent) metrics(ctx context.Context) error {
	text, err := a.client.Metrics(ctx)
	if err != nil {
		return err
	}
	values, err := lamina.ParseMetrics(text)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "snapshots %.0f, %.1f MiB; running VMs %.0f\n", values["laminad_snapshots"],
		mib(int64(values[`laminad_allocated_bytes{place="snapshots"}`])), values["laminad_running_vms"])
	fmt.Fprintf(a.out, "pauses %.0f full, %.0f diff", values[`laminad_pauses_total{kind="full",outcome="done"}`],
		values[`laminad_pauses_total{kind="diff",outcome="done"}`])
	if count := values[`laminad_pause_phase_seconds_count{phase="frozen"}`]; count > 0 {
		const msPerSecond = 1000
		fmt.Fprintf(a.out, "; frozen for %.1f ms on average", msPerSecond*values[`laminad_pause_phase_seconds_sum{phase="frozen"}`]/count)
	}
	fmt.Fprintln(a.out)
	return nil
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
