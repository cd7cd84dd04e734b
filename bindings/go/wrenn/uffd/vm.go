package uffd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// The rules of events are those of lamina's page server (docs/page-faults.md). All that is done to the
// VM's memory happens under one lock: reading events, applying them, filling pages. So no page is
// filled with data after its REMOVE has been read. The prefetcher reads data without the lock.
//
//   - The kernel refuses fills (EAGAIN) while a REMOVE has not been read. The faulting thread is woken
//     then; it faults again, behind the REMOVE.
//   - The kernel returns pending faults before other events. eventsPerRead is more than the threads of
//     any VM, so one read returns the REMOVE too.
const (
	eventsPerRead = 1024
	readAttempts  = 3
	prefetchBytes = 256 << 10
	shortageWait  = 10 * time.Millisecond
	shortageLimit = 30 * time.Second
)

type vm struct {
	ctx    context.Context
	cancel context.CancelFunc
	source MemorySource
	memory *Mapping
	peer   *process
	file   *os.File
	raw    syscall.RawConn

	prefetch sync.Once
	group    sync.WaitGroup

	mu      sync.Mutex // for the VM's memory, and what follows
	removed map[uintptr]*[chunkPages / 64]uint64
	events  []byte
	// huge page for which the kernel said EEXIST, which is what an empty pool of huge pages gives too
	present      uintptr
	presentSince time.Time
	presentTimes int

	endMu   sync.Mutex
	failing bool // the VM is being killed: its end is not the reason
	ended   chan struct{}
	err     error // valid when ended is closed
}

// chunkPages is how many pages share a part of the bitmap of removed pages.
const chunkPages = 1 << 15

func newVM(ctx context.Context, source MemorySource, regions []Region, descriptor int, peer *process) (*vm, error) {
	// Non-blocking, so that Go's poller waits for it.
	if err := syscall.SetNonblock(descriptor, true); err != nil {
		return nil, fmt.Errorf("userfaultfd: %w", err)
	}
	inner, cancel := context.WithCancel(ctx)
	v := &vm{
		ctx: inner, cancel: cancel, source: source, memory: NewMapping(regions), peer: peer,
		file:    os.NewFile(uintptr(descriptor), "userfaultfd"),
		removed: map[uintptr]*[chunkPages / 64]uint64{},
		events:  make([]byte, eventsPerRead*eventBytes),
		ended:   make(chan struct{}),
	}
	raw, err := v.file.SyscallConn()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("userfaultfd: %w", err)
	}
	v.raw = raw
	return v, nil
}

// end ends serving because there is nothing left to do. The first end counts.
func (v *vm) end() {
	v.endMu.Lock()
	defer v.endMu.Unlock()
	if !v.failing {
		v.endLocked(nil)
	}
}

func (v *vm) endLocked(reason error) {
	if v.hasEnded() {
		return
	}
	v.err = reason
	close(v.ended)
	v.cancel()
	v.file.SetReadDeadline(time.Now())
	v.peer.file.SetReadDeadline(time.Now())
}

func (v *vm) hasEnded() bool {
	select {
	case <-v.ended:
		return true
	default:
		return false
	}
}

// failClosed kills the VM: a guest that waits for a page for ever, or gets a wrong one, is worse.
func (v *vm) failClosed(cause error) {
	v.endMu.Lock()
	isFirst := !v.failing && !v.hasEnded()
	v.failing = v.failing || isFirst
	v.endMu.Unlock()
	if !isFirst {
		return
	}
	reason := withKill(v.peer, cause)
	v.endMu.Lock()
	defer v.endMu.Unlock()
	v.endLocked(reason)
}

// serve answers faults until the VM has ended, and waits for everything that was started.
func (v *vm) serve() error {
	v.group.Add(1)
	go func() {
		defer v.group.Done()
		if err := v.peer.wait(); err == nil {
			v.end() // the process has ended
		}
	}()
	for !v.hasEnded() {
		if err := v.raw.Read(v.handleEvents); err != nil {
			v.failClosed(fmt.Errorf("wait for page faults: %w", err))
		}
	}
	v.group.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.file.Close()
	return v.err
}

// handleEvents reads events and answers them; false if there is none.
func (v *vm) handleEvents(fd uintptr) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.drain(fd) || v.hasEnded()
}

// drain reads the pending events once and answers them. REQUIRES: the lock.
func (v *vm) drain(fd uintptr) bool {
	n, err := syscall.Read(int(fd), v.events)
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return err == syscall.EINTR
	}
	if err != nil || n%eventBytes != 0 {
		v.failClosed(fmt.Errorf("read page faults: %d bytes, %v", n, err))
		return true
	}
	batch := make([]event, 0, n/eventBytes)
	for at := 0; at < n; at += eventBytes {
		batch = append(batch, parseEvent(v.events[at:]))
	}
	for _, e := range batch {
		switch e.kind {
		case eventRemove:
			v.markRemoved(e.start, e.end)
		case eventFork:
			syscall.Close(int(e.descriptor))
			v.failClosed(errors.New("the process has forked, and the memory of its child is not served"))
		}
	}
	served := map[uintptr]bool{} // several threads may wait for one page
	for _, e := range batch {
		if e.kind != eventPagefault || v.hasEnded() {
			continue
		}
		region := v.memory.find(e.start)
		if region == nil {
			v.failClosed(fmt.Errorf("page fault at %#x, which is in no region", e.start))
			continue
		}
		page := e.start &^ (region.PageSize - 1)
		if !served[page] {
			served[page] = true
			v.serveFault(fd, region, page)
		}
	}
	return true
}

// serveFault fills the page of a fault. REQUIRES: the lock.
func (v *vm) serveFault(fd uintptr, region *Region, page uintptr) {
	data, err := v.pageData(region, page)
	if err != nil {
		if !v.hasEnded() {
			v.failClosed(err)
		}
		return
	}
	for began := time.Now(); !v.hasEnded(); {
		if data == nil {
			_, err = zeroPages(fd, page, region.PageSize)
		} else {
			_, err = copyPages(fd, page, data)
		}
		if err != syscall.ENOMEM {
			break
		}
		if time.Since(began) > shortageLimit {
			v.failClosed(fmt.Errorf("the host has no page for %#x since %s", page, shortageLimit))
			return
		}
		v.pause()
	}
	switch err {
	case nil:
	case syscall.EEXIST:
		v.wakePresent(fd, region, page)
	case syscall.EAGAIN, syscall.ENOENT:
		// An unread event, or a range that is gone: the thread faults again, or does not exist.
		wake(fd, page, region.PageSize)
	case syscall.ESRCH:
		v.end() // the process is gone
	default:
		v.failClosed(fmt.Errorf("fill the page at %#x: %w", page, err))
	}
}

// wakePresent wakes the thread that waits for a page that is there. For a huge page the kernel gives
// the same error if its pool is empty; then the thread faults again at once.
func (v *vm) wakePresent(fd uintptr, region *Region, page uintptr) {
	if region.PageSize == hugePage {
		if v.present != page {
			v.present, v.presentSince, v.presentTimes = page, time.Now(), 0
		}
		if v.presentTimes++; v.presentTimes > 3 {
			if time.Since(v.presentSince) > shortageLimit {
				v.failClosed(fmt.Errorf("the host has no huge page for %#x since %s: raise vm.nr_hugepages", page, shortageLimit))
				return
			}
			v.pause()
		}
	}
	wake(fd, page, region.PageSize)
}

// pause waits a moment for memory, or for the end.
func (v *vm) pause() {
	timer := time.NewTimer(shortageWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-v.ended:
	}
}

// pageData returns the contents of a page, or nil for zeros of a small page. REQUIRES: the lock.
func (v *vm) pageData(region *Region, page uintptr) ([]byte, error) {
	if region.PageSize == smallPage && v.isRemoved(page) {
		return nil, nil
	}
	data, err := v.read(region, page, int64(region.PageSize))
	if err != nil {
		return nil, err
	}
	for at := uintptr(0); at < region.PageSize; at += smallPage {
		if v.isRemoved(page + at) {
			block := data[at : at+smallPage]
			for i := range block {
				block[i] = 0
			}
		}
	}
	if region.PageSize == smallPage && isZero(data) {
		return nil, nil
	}
	return data, nil
}

// read reads from the source at an address of the VMM.
func (v *vm) read(region *Region, address uintptr, length int64) ([]byte, error) {
	offset := int64(region.Offset + (address - region.BaseHostVirtAddr))
	for attempt := 1; ; attempt++ {
		data, err := v.source.ReadPage(v.ctx, offset, length)
		if err == nil && int64(len(data)) != length {
			err = fmt.Errorf("the source gave %d bytes", len(data))
		}
		if err == nil {
			return data, nil
		}
		if attempt == readAttempts || v.hasEnded() {
			return nil, fmt.Errorf("read %d bytes of memory at %#x: %w", length, offset, err)
		}
	}
}

func (v *vm) markRemoved(start, end uintptr) {
	for _, region := range v.memory.Regions {
		from, to := start, end
		if from < region.BaseHostVirtAddr {
			from = region.BaseHostVirtAddr
		}
		if last := region.BaseHostVirtAddr + region.Size; to > last {
			to = last
		}
		for address := from; address < to; address += smallPage {
			page := address / smallPage
			chunk := v.removed[page/chunkPages]
			if chunk == nil {
				chunk = new([chunkPages / 64]uint64)
				v.removed[page/chunkPages] = chunk
			}
			chunk[page%chunkPages/64] |= 1 << (page % 64)
		}
	}
}

func (v *vm) isRemoved(address uintptr) bool {
	page := address / smallPage
	chunk := v.removed[page/chunkPages]
	return chunk != nil && chunk[page%chunkPages/64]&(1<<(page%64)) != 0
}

var zeroPage = make([]byte, smallPage)

// isZero is true for whole pages of zeros.
func isZero(data []byte) bool {
	for at := 0; at < len(data); at += smallPage {
		if !bytes.Equal(data[at:at+smallPage], zeroPage) {
			return false
		}
	}
	return true
}
