package uffd

import (
	"bytes"
	"context"
	"math/rand"
	"os"
	"strings"
	"sync"
	"testing"
)

func TestAReadCrossesRecordsAndTheMemorysEnd(t *testing.T) {
	r := rand.New(rand.NewSource(20))
	source, memory := chainSource(t, r, 300*smallPage-77)
	padded := append(append([]byte(nil), memory...), make([]byte, hugePage)...)
	var group sync.WaitGroup
	for i := 0; i < 4; i++ {
		r := rand.New(rand.NewSource(int64(i)))
		group.Add(1)
		go func() {
			defer group.Done()
			for k := 0; k < 60; k++ {
				offset := r.Intn(len(memory))
				size := 1 + r.Intn(hugePage/2)
				page, err := source.ReadPage(context.Background(), int64(offset), int64(size))
				if err != nil || !bytes.Equal(page, padded[offset:offset+size]) {
					t.Errorf("[%d, +%d): %v", offset, size, err)
					return
				}
			}
		}()
	}
	group.Wait()
	for _, bad := range [][2]int64{{-1, 1}, {0, 0}, {0, -1}, {int64(len(memory)), 1}, {0, maxRead + 1}, {1 << 62, 1 << 62}} {
		if _, err := source.ReadPage(context.Background(), bad[0], bad[1]); err == nil {
			t.Errorf("%v is read", bad)
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := source.ReadPage(cancelled, 0, 1); err == nil {
		t.Error("a cancelled read succeeds")
	}
}

func TestAMissingOrTruncatedDiffIsAnError(t *testing.T) {
	header, files, memory := chain(t, rand.New(rand.NewSource(21)), 100*smallPage)
	for id, path := range files {
		delete(files, id)
		if _, err := NewDiffFileSource(header, files); err == nil {
			t.Errorf("without %s", path)
		}
		files[id] = path
		break
	}
	source, err := NewDiffFileSource(header, files)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if err := os.Truncate(path, smallPage-1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := source.ReadPage(context.Background(), 0, int64(len(memory))); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("%v", err)
	}
	for i := 0; i < 2; i++ {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewDiffFileSource(nil, nil); err == nil {
		t.Error("a nil header")
	}
}

func TestGetOffset(t *testing.T) {
	m := NewMapping([]Region{{0x10000, 0x4000, 0, smallPage}, {0x400000, hugePage, 0x4000, hugePage}})
	for address, want := range map[uintptr]int64{0x10000: 0, 0x13fff: 0x3fff, 0x400001: 0x4001} {
		if offset, page, err := m.GetOffset(address); err != nil || offset != want || page != m.find(address).PageSize {
			t.Errorf("%#x: %#x, %d, %v", address, offset, page, err)
		}
	}
	for _, address := range []uintptr{0, 0xffff, 0x14000, 0x600000} {
		if _, _, err := m.GetOffset(address); err == nil {
			t.Errorf("%#x is found", address)
		}
	}
}

func TestRegionsThatDoNotFitAreRefused(t *testing.T) {
	for what, text := range map[string]string{
		"none":             `[]`,
		"null":             `null`,
		"no pages":         `[{"base_host_virt_addr": 4096, "size": 4096, "offset": 0}]`,
		"empty":            `[{"base_host_virt_addr": 4096, "size": 0, "offset": 0, "page_size_kib": 4096}]`,
		"unaligned":        `[{"base_host_virt_addr": 4097, "size": 4096, "offset": 0, "page_size_kib": 4096}]`,
		"address overflow": `[{"base_host_virt_addr": 18446744073709547520, "size": 8192, "offset": 0, "page_size_kib": 4096}]`,
		"too large":        `[{"base_host_virt_addr": 4096, "size": 1048576, "offset": 0, "page_size_kib": 4096}]`,
		"too far":          `[{"base_host_virt_addr": 4096, "size": 4096, "offset": 18446744073709547520, "page_size_kib": 4096}]`,
		"negative":         `[{"base_host_virt_addr": -4096, "size": 4096, "offset": 0, "page_size_kib": 4096}]`,
		"a float":          `[{"base_host_virt_addr": 4096.5, "size": 4096, "offset": 0, "page_size_kib": 4096}]`,
		"same addresses":   `[{"base_host_virt_addr": 4096, "size": 8192, "offset": 0, "page_size_kib": 4096}, {"base_host_virt_addr": 8192, "size": 4096, "offset": 8192, "page_size_kib": 4096}]`,
		"same memory":      `[{"base_host_virt_addr": 4096, "size": 8192, "offset": 0, "page_size_kib": 4096}, {"base_host_virt_addr": 65536, "size": 4096, "offset": 4096, "page_size_kib": 4096}]`,
		"many":             "[" + strings.Repeat("{},", maxRegions) + "{}]",
	} {
		if regions, err := parseRegions([]byte(text), 16*smallPage); err == nil {
			t.Errorf("%s: %v", what, regions)
		}
	}
}

func FuzzRegions(f *testing.F) {
	f.Add([]byte(`[{"base_host_virt_addr": 4096, "size": 4096, "offset": 0, "page_size": 4096}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		regions, err := parseRegions(text, 1<<30)
		if err != nil {
			return
		}
		for _, r := range regions {
			if uint64(r.Offset)+uint64(r.Size) > 1<<30 || r.Size == 0 {
				t.Fatalf("%+v", r)
			}
		}
	})
}
