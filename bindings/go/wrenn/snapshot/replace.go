package snapshot

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// ioBytes is how much is read or written at once.
const ioBytes = 1 << 20

// newFile is a file that gets its name only when it is complete and on the disk.
type newFile struct {
	path string
	file *os.File
	*bufio.Writer
}

// createNew makes a file beside path. Its name begins with a dot, so that nobody takes it for a diff
// ("memfile.*"); a crash may leave it.
func createNew(path string) (*newFile, error) {
	name := "." + filepath.Base(path) + ".new-" + uuid.NewString()
	file, err := os.OpenFile(filepath.Join(filepath.Dir(path), name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return &newFile{path, file, bufio.NewWriterSize(file, ioBytes)}, nil
}

// sync writes what is buffered and waits for the disk.
func (n *newFile) sync() error {
	if err := n.Flush(); err != nil {
		return err
	}
	return n.file.Sync()
}

// publish gives the file its name.
func (n *newFile) publish() error {
	if err := os.Rename(n.file.Name(), n.path); err != nil {
		return err
	}
	n.file.Close()
	n.file = nil
	return nil
}

// discard removes a file that was not published.
func (n *newFile) discard() {
	if n.file == nil {
		return
	}
	os.Remove(n.file.Name())
	n.file.Close()
	n.file = nil
}

// syncDirectory makes renames in it durable.
func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	defer directory.Close()
	return directory.Sync()
}

// publishBoth publishes a diff that has been written, and then its header. If that fails, the header
// is the old one.
func publishBoth(diff *newFile, header *Header, headerPath string) error {
	if filepath.Clean(diff.path) == filepath.Clean(headerPath) {
		return fmt.Errorf("'%s' is named as diff and as header: name two files", headerPath)
	}
	data, err := Serialize(header.Metadata, header.Mapping)
	if err != nil {
		return err
	}
	if err := diff.sync(); err != nil {
		return fmt.Errorf("write diff '%s': %w", diff.path, err)
	}
	newHeader, err := createNew(headerPath)
	if err != nil {
		return fmt.Errorf("create header '%s': %w", headerPath, err)
	}
	defer newHeader.discard()
	if _, err := newHeader.Write(data); err != nil {
		return fmt.Errorf("write header '%s': %w", headerPath, err)
	}
	if err := newHeader.sync(); err != nil {
		return fmt.Errorf("write header '%s': %w", headerPath, err)
	}
	_, err = os.Lstat(diff.path)
	isNew := os.IsNotExist(err)
	diffPath := diff.path
	if err := diff.publish(); err != nil {
		return fmt.Errorf("name diff '%s': %w", diffPath, err)
	}
	// The header must not be on the disk before the diff that it names.
	if err := syncDirectory(filepath.Dir(diffPath)); err != nil {
		if isNew {
			os.Remove(diffPath)
		}
		return fmt.Errorf("sync the directory of diff '%s': %w", diffPath, err)
	}
	if err := newHeader.publish(); err != nil {
		if isNew {
			os.Remove(diffPath)
		}
		return fmt.Errorf("replace header '%s': %w", headerPath, err)
	}
	if err := syncDirectory(filepath.Dir(headerPath)); err != nil {
		return fmt.Errorf("sync the directory of header '%s': %w", headerPath, err)
	}
	return nil
}

// refuseFileOfParent fails if a diff would replace a file that the parent's header refers to, by the
// names of ListDiffFiles.
func refuseFileOfParent(parent *Header, diffPath string) error {
	if !exists(diffPath) {
		return nil
	}
	directory, name := filepath.Split(diffPath)
	for _, r := range parent.Mapping {
		if r.BuildID == uuid.Nil {
			continue
		}
		own := MemDiffPathForBuild(directory, "", r.BuildID)
		if name == filepath.Base(own) || (name == MemDiffName && !exists(own)) {
			return fmt.Errorf("diff '%s' exists and is that of the parent's build %s: name another file", diffPath, r.BuildID)
		}
	}
	return nil
}

// refuseSameFile fails if output exists and is the open input.
func refuseSameFile(input *os.File, output, what string) error {
	there, err := os.Stat(output)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := input.Stat()
	if err != nil {
		return err
	}
	if os.SameFile(info, there) {
		return fmt.Errorf("%s '%s' is an input too: name another file", what, output)
	}
	return nil
}
