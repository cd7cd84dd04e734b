package reader

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// seekHole is SEEK_HOLE of lseek(2).
const seekHole = 4

// openRegular opens a regular file in the directory, without following a link; path is for
// messages. A FIFO or a device is refused, and does not block.
func openRegular(directory *os.File, name, path string) (*os.File, int64, error) {
	at := -0x64 // AT_FDCWD
	flags := syscall.O_RDONLY | syscall.O_CLOEXEC | syscall.O_NONBLOCK
	if directory != nil {
		at = int(directory.Fd())
		flags |= syscall.O_NOFOLLOW
	}
	var fd int
	var err error
	for {
		fd, err = syscall.Openat(at, name, flags, 0)
		if err != syscall.EINTR {
			break
		}
	}
	if err == syscall.ELOOP {
		return nil, 0, &Error{Path: path, Offset: NoOffset, Message: "it is a symbolic link, which is not followed", Err: err}
	}
	if err != nil {
		return nil, 0, systemError(path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &Error{Path: path, Offset: NoOffset, Message: fmt.Sprintf("it is not a file (%s)", info.Mode()), Err: ErrUsage}
	}
	if err == nil {
		err = syscall.SetNonblock(fd, false)
	}
	if err != nil {
		file.Close()
		var known *Error
		if errors.As(err, &known) {
			return nil, 0, known
		}
		return nil, 0, systemError(path, err)
	}
	return file, info.Size(), nil
}

// isStored is false if [offset, end) of a file has a hole. A sparse file can have any size, so this
// comes before memory is allocated for a large range.
func isStored(file *os.File, offset, end int64) (bool, error) {
	hole, err := file.Seek(offset, seekHole)
	switch {
	case err == nil:
		return hole >= end, nil
	case errors.Is(err, syscall.EINVAL):
		return true, nil // the file system does not support holes
	case errors.Is(err, syscall.ENXIO):
		return false, nil // the file ends before offset
	}
	return false, err
}

// readRange reads [offset, offset + length) of a file. Memory grows with what is read.
func readRange(file *os.File, offset, length int64) ([]byte, error) {
	data, err := io.ReadAll(io.NewSectionReader(file, offset, length))
	if err == nil && int64(len(data)) != length {
		return nil, corrupt(offset, "the file ends at %#x, before %#x", offset+int64(len(data)), offset+length)
	}
	return data, err
}

// readWhole reads a file of at most limit bytes that lamina or wrenn wrote whole.
func readWhole(file *os.File, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, corrupt(NoOffset, "it has %d bytes; at most %d are supported", size, limit)
	}
	if size == 0 {
		return nil, nil
	}
	stored, err := isStored(file, 0, size)
	if err != nil {
		return nil, err
	}
	if !stored {
		return nil, corrupt(NoOffset, "it has a hole: it was never written whole")
	}
	return readRange(file, 0, size)
}
