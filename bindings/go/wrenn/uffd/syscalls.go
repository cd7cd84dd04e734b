package uffd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

// The userfaultfd and pidfd interfaces of the kernel; <linux/userfaultfd.h>. The numbers are those of
// all machines with the generic ioctl encoding, such as amd64 and arm64.
const (
	uffdioWake     = 0x8010aa02
	uffdioCopy     = 0xc028aa03
	uffdioZeropage = 0xc020aa04

	eventPagefault = 0x12
	eventFork      = 0x13
	eventRemove    = 0x15
	eventBytes     = 32

	sysPidfdSendSignal = 424
	sysPidfdOpen       = 434
	soPeerPidfd        = 77
	pollIn             = 1
)

// event is a message of the userfaultfd.
type event struct {
	kind       byte
	descriptor uint32  // of a fork
	start, end uintptr // of a REMOVE; start is the address of a fault
}

func parseEvent(message []byte) event {
	e := event{kind: message[0]}
	switch e.kind {
	case eventPagefault:
		e.start = uintptr(binary.LittleEndian.Uint64(message[16:]))
	case eventFork:
		e.descriptor = binary.LittleEndian.Uint32(message[8:])
	case eventRemove:
		e.start = uintptr(binary.LittleEndian.Uint64(message[8:]))
		e.end = uintptr(binary.LittleEndian.Uint64(message[16:]))
	}
	return e
}

// copyPages fills missing pages at address with data. done is what was filled, also with an error.
func copyPages(fd, address uintptr, data []byte) (done int, err error) {
	request := struct {
		to, from, length, mode uint64
		done                   int64
	}{uint64(address), uint64(uintptr(unsafe.Pointer(&data[0]))), uint64(len(data)), 0, 0}
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, uffdioCopy, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(data)
	return outcome(request.done, errno)
}

// zeroPages fills missing pages with zeros; not for huge pages.
func zeroPages(fd, address, length uintptr) (done int, err error) {
	request := struct {
		start, length, mode uint64
		done                int64
	}{uint64(address), uint64(length), 0, 0}
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, uffdioZeropage, uintptr(unsafe.Pointer(&request)))
	return outcome(request.done, errno)
}

// outcome: the kernel stores what was done, or the negative error.
func outcome(done int64, errno syscall.Errno) (int, error) {
	if done < 0 {
		done = 0
	}
	if errno != 0 {
		return int(done), errno
	}
	return int(done), nil
}

// wake lets the threads that wait for pages of a range fault again.
func wake(fd, address, length uintptr) {
	request := struct{ start, length uint64 }{uint64(address), uint64(length)}
	// It fails only for a range that is not registered, which has no waiters.
	_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, uffdioWake, uintptr(unsafe.Pointer(&request)))
}

// isUserfaultfd looks what a descriptor is.
func isUserfaultfd(fd int) bool {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return err == nil && strings.HasPrefix(name, "anon_inode:[userfaultfd]")
}

// process is a pidfd: it can be killed and waited for without confusing it with a later process of
// that number.
type process struct {
	pid  int
	file *os.File
}

// peerProcess returns the process at the other end of a socket.
func peerProcess(socket int) (*process, *syscall.Ucred, error) {
	peer, err := syscall.GetsockoptUcred(socket, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return nil, nil, fmt.Errorf("credentials of the peer: %w", err)
	}
	fd, err := syscall.GetsockoptInt(socket, syscall.SOL_SOCKET, soPeerPidfd) // Linux 6.5
	if err != nil {
		number, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(peer.Pid), 0, 0)
		if errno != 0 {
			return nil, nil, fmt.Errorf("open process %d: %w", peer.Pid, errno)
		}
		fd = int(number)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, true); err != nil { // so that Go's poller takes it
		syscall.Close(fd)
		return nil, nil, err
	}
	return &process{int(peer.Pid), os.NewFile(uintptr(fd), "pidfd")}, peer, nil
}

func (p *process) control(use func(fd uintptr) syscall.Errno) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	if err := raw.Control(func(fd uintptr) { errno = use(fd) }); err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

func (p *process) kill() error {
	err := p.control(func(fd uintptr) syscall.Errno {
		_, _, errno := syscall.Syscall6(sysPidfdSendSignal, fd, uintptr(syscall.SIGKILL), 0, 0, 0, 0)
		return errno
	})
	if errors.Is(err, syscall.ESRCH) {
		return nil // it has ended
	}
	return err
}

// wait returns when the process has ended, or after the deadline of the file has been set.
func (p *process) wait() error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(isReadable)
}

// isReadable polls a descriptor without waiting.
func isReadable(fd uintptr) bool {
	poll := struct {
		fd              int32
		events, revents int16
	}{int32(fd), pollIn, 0}
	timeout := syscall.Timespec{}
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
	return errno == 0 && n == 1
}
