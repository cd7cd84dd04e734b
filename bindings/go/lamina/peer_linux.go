package lamina

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// checkPeer fails unless the process that listens belongs to a user.
func checkPeer(conn net.Conn, uid uint32) error {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("not a Unix socket: its owner cannot be checked")
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return err
	}
	var peer *syscall.Ucred
	var peerError error
	if err := raw.Control(func(fd uintptr) {
		peer, peerError = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if peerError != nil {
		return fmt.Errorf("getsockopt SO_PEERCRED: %w", peerError)
	}
	if peer.Uid != uid {
		return fmt.Errorf("process %d of user %d listens there, not one of user %d: nothing was sent", peer.Pid, peer.Uid, uid)
	}
	return nil
}
