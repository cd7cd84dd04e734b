package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// vmm is a VMM that was just started.
type vmm struct {
	socket  string
	command *exec.Cmd
	ended   chan struct{} // closed when the process has ended
}

// startVMM starts a VMM that listens at DIRECTORY/NAME.sock when this returns. It outlives the agent.
// In the command, {name} and {socket} are replaced.
func startVMM(ctx context.Context, command, directory, name string) (*vmm, error) {
	directory, err := filepath.Abs(directory)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	socket := filepath.Join(directory, name+".sock")
	// The socket of a VMM that has ended would be in the way; the one of a running VMM is not taken.
	if conn, err := net.Dial("unix", socket); err == nil {
		conn.Close()
		return nil, fmt.Errorf("a VMM listens at '%s' already: end it, or choose another name", socket)
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	log, err := os.Create(filepath.Join(directory, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	words := strings.Fields(command)
	if len(words) == 0 {
		return nil, fmt.Errorf("%w: -vmm is empty", errUsage)
	}
	for i, word := range words {
		words[i] = strings.NewReplacer("{name}", name, "{socket}", socket).Replace(word)
	}
	// Not CommandContext: the VM runs on when the agent ends.
	process := exec.Command(words[0], words[1:]...)
	process.Stdout, process.Stderr = log, log
	process.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := process.Start(); err != nil {
		return nil, err
	}
	machine := &vmm{socket, process, make(chan struct{})}
	go func() {
		_ = process.Wait()
		close(machine.ended)
	}()
	if err := machine.waitUntilItListens(ctx, log.Name()); err != nil {
		machine.end()
		return nil, err
	}
	return machine, nil
}

func (m *vmm) waitUntilItListens(ctx context.Context, log string) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		if conn, err := net.Dial("unix", m.socket); err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.ended:
			return fmt.Errorf("'%s' has ended (%v): see '%s'", m.command.Path, m.command.ProcessState, log)
		case <-ticker.C:
		}
	}
}

// end kills the process and removes its socket.
func (m *vmm) end() {
	_ = m.command.Process.Kill()
	<-m.ended
	_ = os.Remove(m.socket)
}
