package uffd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	handshakeTimeout = 10 * time.Second
	handshakeBytes   = 64 << 10
	handshakePieces  = 64
)

// Server serves the page faults of one VM, which connects to one socket.
type Server struct {
	path   string
	source MemorySource

	ready, stopped, done chan struct{}
	readyOnce, stopOnce  sync.Once

	mu       sync.Mutex // for what follows
	started  bool
	prefetch bool
	listener *net.UnixListener
	vm       *vm
	err      error
}

// NewServer returns a server that has not been started.
func NewServer(socketPath string, source MemorySource) *Server {
	return &Server{path: socketPath, source: source, ready: make(chan struct{}), stopped: make(chan struct{}), done: make(chan struct{})}
}

// Start listens at the socket and returns; the VM is served in the background until it ends, the
// context is cancelled, or Stop is called. A socket that a dead server left is replaced.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return errors.New("the server was started before")
	}
	select {
	case <-s.stopped:
		return errors.New("the server was stopped before it was started")
	default:
	}
	if info, err := os.Lstat(s.path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(s.path); err != nil {
			return fmt.Errorf("replace socket '%s': %w", s.path, err)
		}
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen at '%s': %w", s.path, err)
	}
	// A peer that connects before this is checked as all others are.
	if err := os.Chmod(s.path, 0o600); err != nil {
		listener.Close()
		return fmt.Errorf("mode of socket '%s': %w", s.path, err)
	}
	s.started, s.listener = true, listener
	go func() {
		select {
		case <-ctx.Done():
			s.requestStop()
		case <-s.stopped:
		case <-s.done:
		}
	}()
	go s.run(ctx)
	return nil
}

// Ready is closed when the VMM has connected and handed over its memory, or the server has ended.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Wait returns when the server has ended: nil if the VM has ended or the server was stopped, else the
// reason. A VM that could not be served any more has been killed then.
func (s *Server) Wait() error {
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	if !started {
		return errors.New("the server was not started")
	}
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stop ends serving and prefetching and waits for both. A VM that still runs then waits for ever at the
// next page that it does not have, so end the VM first.
func (s *Server) Stop() error {
	s.requestStop()
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	if started {
		<-s.done
	}
	return nil
}

func (s *Server) requestStop() {
	s.stopOnce.Do(func() { close(s.stopped) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		s.listener.SetDeadline(time.Now())
	}
	if s.vm != nil {
		s.vm.end()
	}
}

func (s *Server) isStopped() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

// Prefetch fills all data of the memory in the background, as soon as the VMM has connected. It
// returns at once.
func (s *Server) Prefetch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prefetch = true
	if s.vm != nil {
		s.vm.startPrefetch()
	}
}

// run is the life of the server.
func (s *Server) run(ctx context.Context) {
	err := s.serve(ctx)
	if s.isStopped() {
		err = nil
	}
	s.mu.Lock()
	s.err = err
	s.listener.Close() // also removes the socket
	s.mu.Unlock()
	s.readyOnce.Do(func() { close(s.ready) })
	close(s.done)
}

func (s *Server) serve(ctx context.Context) error {
	for {
		connection, err := s.listener.AcceptUnix()
		if err != nil {
			return fmt.Errorf("accept at '%s': %w", s.path, err)
		}
		peer, isForeign, err := identify(connection)
		if isForeign || errors.Is(err, syscall.ESRCH) { // or has ended already
			connection.Close()
			continue
		}
		if err != nil {
			connection.Close()
			return err
		}
		err = s.serveConnection(ctx, connection, peer)
		connection.Close()
		peer.file.Close()
		if !errors.Is(err, errSilent) || s.isStopped() {
			return err
		}
	}
}

// errSilent is a peer that has closed the connection without a word: not a VMM.
var errSilent = errors.New("it sent nothing")

// identify returns the process that has connected. It is foreign unless it belongs to root or to the
// user of this process.
func identify(connection *net.UnixConn) (peer *process, isForeign bool, err error) {
	raw, err := connection.SyscallConn()
	if err != nil {
		return nil, false, err
	}
	var user *syscall.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { peer, user, failed = peerProcess(int(fd)) }); err != nil {
		return nil, false, err
	}
	if failed != nil {
		return nil, false, failed
	}
	if user.Uid != 0 && int(user.Uid) != os.Geteuid() {
		peer.file.Close()
		return nil, true, nil
	}
	return peer, false, nil
}

// serveConnection serves the VM behind a connection until one of them ends. The connection stays open
// meanwhile.
func (s *Server) serveConnection(ctx context.Context, connection *net.UnixConn, peer *process) error {
	if err := connection.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	unblock := make(chan struct{})
	finished := make(chan struct{})
	go func() { // a stop ends a handshake that does not arrive
		defer close(finished)
		select {
		case <-s.stopped:
			connection.SetReadDeadline(time.Now())
		case <-unblock:
		}
	}()
	regions, descriptor, err := receive(connection, s.memoryLimit())
	close(unblock)
	<-finished
	if err != nil {
		if descriptor >= 0 {
			// The VMM keeps its copy, and its first fault would wait for ever.
			syscall.Close(descriptor)
			if !s.isStopped() {
				err = withKill(peer, err)
			}
		}
		return fmt.Errorf("handshake of process %d: %w", peer.pid, err)
	}
	machine, err := newVM(ctx, s.source, regions, descriptor, peer)
	if err != nil {
		syscall.Close(descriptor)
		return withKill(peer, err)
	}
	s.mu.Lock()
	s.vm = machine
	if s.prefetch {
		machine.startPrefetch()
	}
	s.mu.Unlock()
	if s.isStopped() {
		machine.end()
	}
	s.readyOnce.Do(func() { close(s.ready) })
	return machine.serve()
}

func withKill(peer *process, cause error) error {
	if err := peer.kill(); err != nil {
		return fmt.Errorf("%w; process %d could not be killed: %v", cause, peer.pid, err)
	}
	return fmt.Errorf("%w; process %d was killed", cause, peer.pid)
}

func (s *Server) memoryLimit() int64 {
	if sized, ok := s.source.(interface{ Size() int64 }); ok {
		return sized.Size()
	}
	return maxMemory
}

// receive reads the handshake: a JSON list of regions, and the userfaultfd. With an error the
// descriptor may be there too; else it is -1. The caller has set a time limit.
func receive(connection *net.UnixConn, limit int64) (regions []Region, descriptor int, err error) {
	descriptor = -1
	var text []byte
	piece := make([]byte, handshakeBytes)
	control := make([]byte, syscall.CmsgSpace(16*4))
	for pieces := 0; !json.Valid(text); pieces++ {
		if pieces == handshakePieces || len(text) == handshakeBytes {
			return nil, descriptor, fmt.Errorf("%d bytes in %d pieces are not a list of regions", len(text), pieces)
		}
		n, controlBytes, flags, _, err := connection.ReadMsgUnix(piece[:handshakeBytes-len(text)], control)
		if controlBytes > 0 {
			if descriptor, err = keepFirst(control[:controlBytes], descriptor, err); err != nil {
				return nil, descriptor, err
			}
		}
		if n == 0 && (err == nil || errors.Is(err, io.EOF)) {
			if err = io.ErrUnexpectedEOF; len(text) == 0 && descriptor < 0 {
				err = errSilent
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("it was not complete within %s", handshakeTimeout)
		}
		if err != nil {
			return nil, descriptor, err
		}
		if flags&syscall.MSG_CTRUNC != 0 {
			return nil, descriptor, errors.New("it has more descriptors than 16")
		}
		text = append(text, piece[:n]...)
	}
	if descriptor < 0 {
		return nil, -1, errors.New("it has no descriptor")
	}
	if !isUserfaultfd(descriptor) {
		syscall.Close(descriptor)
		return nil, -1, errors.New("its descriptor is not a userfaultfd")
	}
	regions, err = parseRegions(text, limit)
	return regions, descriptor, err
}

// keepFirst keeps the first descriptor that a peer sends and closes all others.
func keepFirst(control []byte, descriptor int, failed error) (int, error) {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return descriptor, err
	}
	for i := range messages {
		received, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue // not descriptors
		}
		for _, fd := range received {
			if descriptor < 0 {
				descriptor = fd
			} else {
				syscall.Close(fd)
			}
		}
	}
	return descriptor, failed
}
