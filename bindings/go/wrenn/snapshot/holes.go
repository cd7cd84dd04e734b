package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// In a diff, a hole means "as in the parent" and a written zero means "cleared". Two interfaces of the
// kernel show what was written: FIEMAP, which also tells storage that was only preallocated, and
// SEEK_DATA, for file systems without FIEMAP (tmpfs). lamina does the same (src/os/sparse_file.cc).

// span is a range of a file, in bytes.
type span struct{ from, to int64 }

// fileMap is the storage of a file.
type fileMap struct {
	written []span
	// hasPreallocated: some storage was never written; it is not in written, if the file system
	// tells the two apart.
	hasPreallocated bool
	// preallocatedIsKnown: hasPreallocated can be relied on.
	preallocatedIsKnown bool
}

const (
	seekData = 3
	seekHole = 4

	fiemapRequest        = 0xc020660b
	fiemapHeadBytes      = 32
	fiemapExtentBytes    = 56
	fiemapExtentsPerCall = 512
	fiemapSync           = 1
	fiemapExtentLast     = 0x1
	fiemapUnwritten      = 0x800

	ext4Magic, xfsMagic, btrfsMagic, tmpfsMagic = 0xef53, 0x58465342, 0x9123683e, 0x01021994
)

// addSpan appends a range, cut at size, and joins it to the last one if they touch.
func addSpan(list []span, from, to, size int64) []span {
	if to > size {
		to = size
	}
	if from >= to {
		return list
	}
	if n := len(list); n > 0 && list[n-1].to == from {
		list[n-1].to = to
		return list
	}
	return append(list, span{from, to})
}

// fiemap returns written and preallocated storage; ok is false without FIEMAP.
func fiemap(file *os.File, size int64) (written, preallocated []span, ok bool, err error) {
	call := make([]byte, fiemapHeadBytes+fiemapExtentBytes*fiemapExtentsPerCall)
	le := binary.LittleEndian
	for position := int64(0); position < size; {
		le.PutUint64(call[0:], uint64(position))
		le.PutUint64(call[8:], uint64(size-position))
		le.PutUint32(call[16:], fiemapSync)
		le.PutUint32(call[20:], 0)
		le.PutUint32(call[24:], fiemapExtentsPerCall)
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), fiemapRequest, uintptr(unsafe.Pointer(&call[0])))
		switch errno {
		case 0:
		case syscall.EINTR:
			continue
		case syscall.EOPNOTSUPP, syscall.ENOTTY, syscall.ENOSYS, syscall.EINVAL, syscall.EBADR:
			if position == 0 {
				return nil, nil, false, nil
			}
			return nil, nil, false, errno
		default:
			return nil, nil, false, fmt.Errorf("read its extents: %w", errno)
		}
		count := int(le.Uint32(call[20:]))
		if count == 0 {
			break // only a hole is left
		}
		if count > fiemapExtentsPerCall {
			count = fiemapExtentsPerCall
		}
		for i := 0; i < count; i++ {
			extent := call[fiemapHeadBytes+i*fiemapExtentBytes:]
			from := int64(le.Uint64(extent))
			to := from + int64(le.Uint64(extent[16:]))
			if to <= position || to < from {
				return nil, nil, false, errors.New("it changed while its extents were read")
			}
			if from < position {
				from = position
			}
			flags := le.Uint32(extent[40:])
			if flags&fiemapUnwritten != 0 {
				preallocated = addSpan(preallocated, from, to, size)
			} else {
				written = addSpan(written, from, to, size)
			}
			if position = to; flags&fiemapExtentLast != 0 {
				return written, preallocated, true, nil
			}
		}
	}
	return written, preallocated, true, nil
}

// dataSpans returns the data by SEEK_DATA. Without holes, that is all of the file.
func dataSpans(file *os.File, size int64) ([]span, error) {
	var list []span
	for position := int64(0); position < size; {
		from, err := file.Seek(position, seekData)
		if errors.Is(err, syscall.ENXIO) {
			break // only a hole is left
		}
		if errors.Is(err, syscall.EINVAL) && position == 0 {
			return []span{{0, size}}, nil
		}
		if err != nil {
			return nil, err
		}
		to, err := file.Seek(from, seekHole)
		if err != nil {
			return nil, err
		}
		if from < size && to <= from {
			return nil, errors.New("it changed while its holes were read")
		}
		list = addSpan(list, from, to, size)
		position = to
	}
	return list, nil
}

// without returns list minus holes; both are in order.
func without(list, holes []span, size int64) (left []span) {
	first := 0
	for _, s := range list {
		for first < len(holes) && holes[first].to <= s.from {
			first++
		}
		from := s.from
		for i := first; i < len(holes) && holes[i].from < s.to; i++ {
			left = addSpan(left, from, holes[i].from, size)
			if from < holes[i].to {
				from = holes[i].to
			}
		}
		left = addSpan(left, from, s.to, size)
	}
	return left
}

// mapFile says what of [0, size) was written. Dirty pages are written back first where FIEMAP needs
// it. It moves the position of file.
func mapFile(file *os.File, size int64) (*fileMap, error) {
	var kind syscall.Statfs_t
	if err := syscall.Fstatfs(int(file.Fd()), &kind); err != nil {
		return nil, err
	}
	written, preallocated, ok, err := fiemap(file, size)
	if err != nil {
		return nil, err
	}
	data, err := dataSpans(file, size)
	if err != nil {
		return nil, err
	}
	if !ok {
		m := &fileMap{written: data, preallocatedIsKnown: uint32(kind.Type) == tmpfsMagic}
		if m.preallocatedIsKnown {
			info, err := file.Stat()
			if err != nil {
				return nil, err
			}
			m.hasPreallocated = allocatedBytes(info) > wholePages(data)
		}
		return m, nil
	}
	m := &fileMap{written: written, hasPreallocated: len(preallocated) > 0, preallocatedIsKnown: true}
	if err := refuseLostWrites(file, without(data, without(data, preallocated, size), size)); err != nil {
		return nil, err
	}
	switch uint32(kind.Type) {
	case ext4Magic, xfsMagic, btrfsMagic: // FIEMAP is known to list all that is written back
	default:
		m.written = without(data, preallocated, size)
	}
	return m, nil
}

func allocatedBytes(info os.FileInfo) int64 {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return stat.Blocks * 512
}

// wholePages is the storage of the ranges if it is allocated in pages.
func wholePages(list []span) (bytes int64) {
	for _, s := range list {
		bytes += (TotalBlocks(s.to, DefaultBlockSize) - s.from/DefaultBlockSize) * DefaultBlockSize
	}
	return bytes
}

// refuseLostWrites: storage that was never written reads as zeros. Cached pages of it that are not
// zero could not be written back, and written zeros there cannot be told from holes any more.
func refuseLostWrites(file *os.File, list []span) error {
	for _, s := range list {
		err := readSpan(file, s, func(_ int64, data []byte) error {
			if !isZero(data) {
				return errors.New("it has cached data that could not be written to the disk: have the VMM write the memory again")
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// probe is how exact the holes are in a file system.
type probe struct {
	exact, exactIfPreallocated bool
	device                     uint64
	// reported is how many bytes count as written; probeWritten were.
	reported int64
}

const (
	probeWritten   = 3 * DefaultBlockSize
	probeMinBlocks = 16
)

// probeHoles makes an unnamed file of the memory's size in the directory, writes single odd pages of
// data and of zeros, reads the pages around them, and looks which pages count as written.
func probeHoles(directory string, size int64) (*probe, error) {
	file, err := unnamedFile(directory)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	blocks := TotalBlocks(size, DefaultBlockSize)
	if blocks < probeMinBlocks {
		blocks = probeMinBlocks
	}
	at := func(block int64) int64 { return block * DefaultBlockSize }
	zeroBlock := blocks/2 | 1
	data := make([]byte, DefaultBlockSize)
	if err := file.Truncate(at(blocks)); err != nil {
		return nil, err
	}
	if _, err := file.WriteAt(data, at(zeroBlock)); err != nil {
		return nil, err
	}
	for i := range data {
		data[i] = 0x5a
	}
	if _, err := file.WriteAt(data, at(1)); err != nil {
		return nil, err
	}
	canPreallocate := true
	for i := 0; i < 2; i++ { // tmpfs reports it as data after the second call
		err := syscall.Fallocate(int(file.Fd()), 0, at(3), at(4))
		if err == syscall.EINTR {
			i--
			continue
		}
		if err == syscall.EOPNOTSUPP || err == syscall.ENOSYS || err == syscall.EINVAL {
			canPreallocate = false
		} else if err != nil {
			return nil, err
		}
	}
	if _, err := file.WriteAt(data, at(5)); err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, err
	}
	for _, block := range []int64{1, zeroBlock} {
		from := block - 4
		if from < 0 {
			from = 0
		}
		if _, err := file.ReadAt(make([]byte, at(8)), at(from)); err != nil && from+8 <= blocks {
			return nil, err
		}
	}
	m, err := mapFile(file, at(blocks))
	if err != nil {
		return nil, err
	}
	p := &probe{device: deviceOf(file)}
	window := []span{{at(3), at(7)}}
	outside := without(m.written, window, at(blocks))
	inside := without(m.written, outside, at(blocks))
	insideIsExact := len(inside) == 1 && inside[0] == span{at(5), at(6)}
	p.exact = len(outside) == 2 && outside[0] == span{at(1), at(2)} && outside[1] == span{at(zeroBlock), at(zeroBlock + 1)}
	if !canPreallocate {
		p.exact = p.exact && insideIsExact
	}
	p.exactIfPreallocated = p.exact && insideIsExact
	for _, s := range m.written {
		p.reported += s.to - s.from
	}
	return p, nil
}

func deviceOf(file *os.File) uint64 {
	info, err := file.Stat()
	if err != nil {
		return 0
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Dev)
	}
	return 0
}

const oTmpfile = 0x400000 | syscall.O_DIRECTORY // O_TMPFILE of all machines that Go knows but sparc64

func unnamedFile(directory string) (*os.File, error) {
	file, err := os.OpenFile(directory, os.O_RDWR|oTmpfile, 0o600)
	if err == nil {
		return file, nil
	}
	named, err := os.CreateTemp(directory, ".lamina-probe-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(named.Name()); err != nil {
		named.Close()
		return nil, err
	}
	return named, nil
}
