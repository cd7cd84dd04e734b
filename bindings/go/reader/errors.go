package reader

import (
	"errors"
	"fmt"
)

// The kinds of errors, for errors.Is. A missing file is fs.ErrNotExist.
var (
	// ErrCorrupt: the contents of a file are wrong.
	ErrCorrupt = errors.New("corrupt")
	// ErrUnsupported: a file has a version or a feature that this package does not know.
	ErrUnsupported = errors.New("unsupported")
	// ErrUsage: an argument is wrong.
	ErrUsage = errors.New("wrong argument")
)

// NoOffset is Error.Offset of an error that is not about one place of a file.
const NoOffset int64 = -1

// Error is an error of this package. A message is one line in lower case without a full stop.
type Error struct {
	// Path is the file that the error is about, or "" if bytes were decoded.
	Path string
	// Offset is the place in the file where the wrong data is, in bytes, or NoOffset.
	Offset int64
	// Message says what is wrong, with the value.
	Message string
	// Remedy says what can be done, or is "".
	Remedy string
	// Err is the kind, or the error of the system call.
	Err error
}

// Error returns path, offset, message and remedy in one line.
func (e *Error) Error() string {
	text := e.Message
	switch {
	case e.Path != "" && e.Offset >= 0:
		text = fmt.Sprintf("'%s' at %#x: %s", e.Path, e.Offset, e.Message)
	case e.Path != "":
		text = fmt.Sprintf("'%s': %s", e.Path, e.Message)
	case e.Offset >= 0:
		text = fmt.Sprintf("at %#x: %s", e.Offset, e.Message)
	}
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Unwrap returns the kind, or the error of the system call.
func (e *Error) Unwrap() error { return e.Err }

func corrupt(offset int64, format string, values ...interface{}) *Error {
	return &Error{Offset: offset, Message: fmt.Sprintf(format, values...), Err: ErrCorrupt}
}

func unsupported(offset int64, format string, values ...interface{}) *Error {
	return &Error{Offset: offset, Message: fmt.Sprintf(format, values...), Err: ErrUnsupported}
}

func usage(format string, values ...interface{}) *Error {
	return &Error{Offset: NoOffset, Message: fmt.Sprintf(format, values...), Err: ErrUsage}
}

// systemError is a failed system call on the file at path.
func systemError(path string, err error) *Error {
	var cause error = err
	for next := errors.Unwrap(cause); next != nil; next = errors.Unwrap(cause) {
		cause = next // without the path, which os.PathError repeats
	}
	return &Error{Path: path, Offset: NoOffset, Message: cause.Error(), Err: err}
}

// inFile adds path and remedy to an error of a decoder.
func inFile(err error, path, remedy string) error {
	var known *Error
	if !errors.As(err, &known) {
		return systemError(path, err)
	}
	named := *known
	named.Path = path
	if named.Remedy == "" {
		named.Remedy = remedy
	}
	return &named
}
