package uffd

import (
	"syscall"
)

// startPrefetch fills all data in the background, once.
func (v *vm) startPrefetch() {
	v.prefetch.Do(func() {
		v.group.Add(1)
		go func() {
			defer v.group.Done()
			v.fillAll()
		}()
	})
}

func (v *vm) fillAll() {
	for i := range v.memory.Regions {
		region := &v.memory.Regions[i]
		step := region.PageSize
		if _, ok := v.source.(rangeSource); ok && step < prefetchBytes {
			step = prefetchBytes
		}
		for done := uintptr(0); done < region.Size && !v.hasEnded(); done += step {
			length := step
			if left := region.Size - done; left < length {
				length = left
			}
			address := region.BaseHostVirtAddr + done
			data, err := v.read(region, address, int64(length))
			if err != nil {
				if !v.hasEnded() {
					v.failClosed(err)
				}
				return
			}
			v.fillRuns(region, address, data)
		}
	}
}

// fillRuns fills the pages that are not zeros, in runs.
func (v *vm) fillRuns(region *Region, address uintptr, data []byte) {
	page := int(region.PageSize)
	for from := 0; from < len(data); {
		if isZero(data[from : from+page]) {
			from += page
			continue
		}
		to := from + page
		for to < len(data) && !isZero(data[to:to+page]) {
			to += page
		}
		v.fillRun(region, address+uintptr(from), data[from:to])
		from = to
	}
}

// fillRun fills missing pages. Pages that the guest has, or has given back, are left alone.
func (v *vm) fillRun(region *Region, address uintptr, data []byte) {
	page := region.PageSize
	for len(data) > 0 && !v.hasEnded() {
		done := uintptr(0)
		waits := false
		err := v.raw.Control(func(fd uintptr) {
			v.mu.Lock()
			defer v.mu.Unlock()
			done, waits = v.fillSome(fd, address, page, data)
		})
		if err != nil {
			return // closed
		}
		if waits {
			v.pause()
		}
		address += done
		data = data[done:]
	}
}

// fillSome fills or skips some pages from address on and returns how many bytes; waits if nothing can
// be filled at the moment. REQUIRES: the lock.
func (v *vm) fillSome(fd, address, page uintptr, data []byte) (done uintptr, waits bool) {
	if v.hasEnded() {
		return 0, false
	}
	if v.anyRemoved(address, page) {
		return page, false // left to a fault, which knows what is zeros in it
	}
	length := page
	for length < uintptr(len(data)) && !v.anyRemoved(address+length, page) {
		length += page
	}
	filled, err := copyPages(fd, address, data[:length])
	done = uintptr(filled)
	if done > 0 {
		return done, false
	}
	switch err {
	case nil:
		return length, false
	case syscall.EEXIST, syscall.ENOENT:
		return page, false
	case syscall.EAGAIN:
		return 0, !v.drain(fd)
	case syscall.ENOMEM:
		return 0, true
	case syscall.ESRCH:
		v.end()
	default:
		v.failClosed(err)
	}
	return 0, false
}

func (v *vm) anyRemoved(address, page uintptr) bool {
	for at := uintptr(0); at < page; at += smallPage {
		if v.isRemoved(address + at) {
			return true
		}
	}
	return false
}
