package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// Names of the files in a snapshot's directory.
const (
	SnapFileName   = "snapfile"
	MemDiffName    = "memfile"
	MemHeaderName  = "memfile.header"
	RootfsFileName = "rootfs.ext4"
	RootfsCowName  = "rootfs.cow"
	RootfsMetaName = "rootfs.meta"
)

// DirPath is the snapshot's directory; with an empty name, baseDir itself.
func DirPath(baseDir, name string) string { return filepath.Join(baseDir, name) }

// SnapPath is the VM state.
func SnapPath(baseDir, name string) string { return filepath.Join(baseDir, name, SnapFileName) }

// MemDiffPath is the only diff file of old snapshots, or that of a merge.
func MemDiffPath(baseDir, name string) string { return filepath.Join(baseDir, name, MemDiffName) }

// MemDiffPathForBuild is the diff file of a build.
func MemDiffPathForBuild(baseDir, name string, buildID uuid.UUID) string {
	return filepath.Join(baseDir, name, MemDiffName+"."+buildID.String())
}

// MemHeaderPath is the header.
func MemHeaderPath(baseDir, name string) string { return filepath.Join(baseDir, name, MemHeaderName) }

// RootfsPath is the whole root file system.
func RootfsPath(baseDir, name string) string { return filepath.Join(baseDir, name, RootfsFileName) }

// CowPath is the changed blocks of the root file system.
func CowPath(baseDir, name string) string { return filepath.Join(baseDir, name, RootfsCowName) }

// MetaPath says what CowPath is based on.
func MetaPath(baseDir, name string) string { return filepath.Join(baseDir, name, RootfsMetaName) }

// RootfsMeta is the contents of MetaPath, as JSON.
type RootfsMeta struct {
	BaseTemplate string `json:"base_template"`
	TemplateID   string `json:"template_id,omitempty"`
}

// WriteMeta replaces the file of MetaPath.
func WriteMeta(baseDir, name string, meta *RootfsMeta) error {
	path := MetaPath(baseDir, name)
	data, err := json.Marshal(meta)
	if err != nil {
		return fmt.Errorf("encode '%s': %w", path, err)
	}
	file, err := createNew(path)
	if err != nil {
		return fmt.Errorf("write '%s': %w", path, err)
	}
	defer file.discard()
	if _, err = file.Write(data); err == nil {
		err = file.sync()
	}
	if err == nil {
		err = file.publish()
	}
	if err == nil {
		err = syncDirectory(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write '%s': %w", path, err)
	}
	return nil
}

// ReadMeta reads the file of MetaPath.
func ReadMeta(baseDir, name string) (*RootfsMeta, error) {
	path := MetaPath(baseDir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read rootfs meta: %w", err)
	}
	meta := &RootfsMeta{}
	if err := json.Unmarshal(data, meta); err != nil {
		return nil, fmt.Errorf("read '%s': %w", path, err)
	}
	return meta, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Exists is true if the directory has a VM state, a header, at least one diff file, and a root file
// system or its changed blocks.
func Exists(baseDir, name string) bool {
	return exists(SnapPath(baseDir, name)) && exists(MemHeaderPath(baseDir, name)) && hasDiff(baseDir, name) &&
		(IsTemplate(baseDir, name) || HasCow(baseDir, name))
}

// hasDiff is true if there is a file memfile, or memfile.* but the header.
func hasDiff(baseDir, name string) bool {
	if exists(MemDiffPath(baseDir, name)) {
		return true
	}
	entries, err := os.ReadDir(DirPath(baseDir, name))
	if err != nil {
		return false
	}
	for _, entry := range entries {
		if match, err := filepath.Match(MemDiffName+".*", entry.Name()); err == nil && match && entry.Name() != MemHeaderName {
			return true
		}
	}
	return false
}

// IsSnapshot is Exists.
func IsSnapshot(baseDir, name string) bool { return Exists(baseDir, name) }

// IsTemplate is true if the directory has a whole root file system.
func IsTemplate(baseDir, name string) bool { return exists(RootfsPath(baseDir, name)) }

// HasCow is true if the directory has changed blocks of a root file system and says of which.
func HasCow(baseDir, name string) bool {
	return exists(CowPath(baseDir, name)) && exists(MetaPath(baseDir, name))
}

// ListDiffFiles returns the diff file of each build that the header refers to, by the build id's text
// form: memfile.<id>, or else memfile. It is an error if neither is there, or if memfile would have to
// be the file of two builds.
func ListDiffFiles(baseDir, name string, header *Header) (map[string]string, error) {
	if header == nil {
		return nil, errors.New("the header is nil")
	}
	files := map[string]string{}
	ofLegacy := ""
	for _, r := range header.Mapping {
		id := r.BuildID.String()
		if r.BuildID == uuid.Nil || files[id] != "" {
			continue
		}
		path := MemDiffPathForBuild(baseDir, name, r.BuildID)
		if !exists(path) {
			legacy := MemDiffPath(baseDir, name)
			if !exists(legacy) {
				return nil, fmt.Errorf("diff of build %s: neither '%s' nor '%s' exists", id, path, legacy)
			}
			if ofLegacy != "" {
				return nil, fmt.Errorf("builds %s and %s have no diff files of their own: '%s' is the file of one of them at most", ofLegacy, id, legacy)
			}
			path, ofLegacy = legacy, id
		}
		files[id] = path
	}
	return files, nil
}

// EnsureDir makes the directory and those above it.
func EnsureDir(baseDir, name string) error {
	if err := os.MkdirAll(DirPath(baseDir, name), 0o755); err != nil {
		return fmt.Errorf("make snapshot directory: %w", err)
	}
	return nil
}

// Remove removes the directory with all that is in it. It is no error if it is gone.
func Remove(baseDir, name string) error {
	if err := os.RemoveAll(DirPath(baseDir, name)); err != nil {
		return fmt.Errorf("remove snapshot directory: %w", err)
	}
	return nil
}

// DirSize is the storage that the directory takes, in bytes: holes do not count.
func DirSize(baseDir, name string) (int64, error) {
	path := DirPath(baseDir, name)
	var total int64
	err := filepath.WalkDir(path, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		total += allocatedBytes(info)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("size of '%s': %w", path, err)
	}
	return total, nil
}
