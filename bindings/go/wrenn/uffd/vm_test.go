package uffd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// The other side of the tests: this program, started again, plays a VM whose memory is registered
// with a real userfaultfd. It compares every page with a file and ends with "ok".

const vmEnvironment = "LAMINA_UFFD_TEST_VM"

const (
	uffdioAPI      = 0xc018aa3f
	uffdioRegister = 0xc020aa00
	apiVersion     = 0xaa
	featureRemove  = 1 << 3
	userModeOnly   = 1
)

func TestMain(m *testing.M) {
	if plan := os.Getenv(vmEnvironment); plan != "" {
		if err := playVM(strings.Split(plan, "|")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ok")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func userfaultfdNumber() uintptr {
	if runtime.GOARCH == "amd64" {
		return 323
	}
	return 282
}

// newUserfaultfd makes one with REMOVE events. An ordinary user gets one for faults of user mode.
func newUserfaultfd() (int, error) {
	for _, flags := range []uintptr{0, userModeOnly} {
		fd, _, errno := syscall.Syscall(userfaultfdNumber(), syscall.O_CLOEXEC|syscall.O_NONBLOCK|flags, 0, 0)
		if errno == syscall.EPERM {
			continue
		}
		if errno != 0 {
			return -1, errno
		}
		api := struct{ api, features, ioctls uint64 }{apiVersion, featureRemove, 0}
		if _, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, uffdioAPI, uintptr(unsafe.Pointer(&api))); errno != 0 {
			return -1, errno
		}
		return int(fd), nil
	}
	return -1, syscall.EPERM
}

// playVM: plan is the socket, the file with the truth, the page size, and what to do.
func playVM(plan []string) error {
	socket, truthPath, action := plan[0], plan[1], plan[3]
	page, err := strconv.Atoi(plan[2])
	if err != nil {
		return err
	}
	truth, err := os.ReadFile(truthPath)
	if err != nil {
		return err
	}
	size := (len(truth) + page - 1) / page * page
	flags := syscall.MAP_PRIVATE | syscall.MAP_ANON
	if page == hugePage {
		flags |= syscall.MAP_HUGETLB
	}
	memory, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, flags)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	address := uintptr(unsafe.Pointer(&memory[0]))
	fd, err := newUserfaultfd()
	if err != nil {
		return fmt.Errorf("userfaultfd: %w", err)
	}
	register := struct{ start, length, mode, ioctls uint64 }{uint64(address), uint64(size), 1, 0}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), uffdioRegister, uintptr(unsafe.Pointer(&register))); errno != 0 {
		return fmt.Errorf("register: %w", errno)
	}
	connection, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	half := size / 2 / page * page // two regions, as of a VM with more than 3 GiB
	text := fmt.Sprintf(`[{"base_host_virt_addr": %d, "size": %d, "offset": 0, "page_size": %d, "page_size_kib": %d},`+
		`{"base_host_virt_addr": %d, "size": %d, "offset": %d, "page_size_kib": %d, "unknown": 1}]`,
		address, half, page, page, address+uintptr(half), size-half, half, page)
	if half == 0 || action == "one region" {
		text = fmt.Sprintf(`[{"base_host_virt_addr": %d, "size": %d, "offset": 0, "page_size_kib": %d}]`, address, size, page)
	}
	switch action {
	case "handshake beyond":
		text = fmt.Sprintf(`[{"base_host_virt_addr": %d, "size": %d, "offset": 4096, "page_size_kib": %d}]`, address, size, page)
	case "handshake nonsense":
		text = `{"base_host_virt_addr": 1}`
	case "handshake endless":
		text = "[" + strings.Repeat(" ", 2*handshakeBytes)
	}
	if _, _, err := connection.WriteMsgUnix([]byte(text[:10]), syscall.UnixRights(fd), nil); err != nil {
		return err
	}
	if _, err := connection.Write([]byte(text[10:])); err != nil && !strings.HasPrefix(action, "handshake") {
		return err
	}
	return act(action, memory, truth, page)
}

func act(action string, memory, truth []byte, page int) error {
	expected := append(append([]byte(nil), truth...), make([]byte, len(memory)-len(truth))...)
	switch action {
	case "remove":
		for round := 0; round < 20; round++ {
			from := round * len(memory) / 20 / page * page
			to := from + page + len(memory)/40/page*page
			if round%2 == 0 && memory[from] != expected[from] {
				return fmt.Errorf("round %d: the page at %#x is wrong", round, from)
			}
			if err := syscall.Madvise(memory[from:to], syscall.MADV_DONTNEED); err != nil {
				return fmt.Errorf("madvise [%#x, %#x): %w", from, to, err)
			}
			copy(expected[from:to], make([]byte, to-from))
			if round%3 == 0 { // the guest uses some of it again
				binary.LittleEndian.PutUint64(memory[from:], uint64(round+1))
				binary.LittleEndian.PutUint64(expected[from:], uint64(round+1))
			}
		}
	case "write":
		for at := 0; at < len(memory); at += 7 * page {
			binary.LittleEndian.PutUint64(memory[at:], uint64(at+1))
			binary.LittleEndian.PutUint64(expected[at:], uint64(at+1))
		}
	}
	const threads = 4
	errs := make([]error, threads)
	var group sync.WaitGroup
	for i := 0; i < threads; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			// All threads meet at some pages.
			for k := 0; k < len(memory)/page; k++ {
				at := (k*(2*i+1) + i*13) % (len(memory) / page) * page
				if !bytes.Equal(memory[at:at+page], expected[at:at+page]) {
					errs[i] = fmt.Errorf("the page at %#x is wrong", at)
					return
				}
			}
			for at := 0; at < len(memory); at += page {
				if !bytes.Equal(memory[at:at+page], expected[at:at+page]) {
					errs[i] = fmt.Errorf("the page at %#x is wrong", at)
					return
				}
			}
		}(i)
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
