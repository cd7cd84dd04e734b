package reader_test

import (
	"fmt"
	"io"
	"os"

	"lamina/go/reader"
)

// Writes the guest's memory to a file and leaves holes where it is zeros.
func Example() {
	snapshot, err := reader.Open("store/web-1")
	if err != nil {
		fmt.Println(err) // names the file, the offset and the remedy
		return
	}
	defer snapshot.Close()
	file, err := os.Create("memory")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	extents, err := snapshot.Extents(0, snapshot.Size())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, extent := range extents {
		if extent.Layer == reader.Zeros {
			continue
		}
		memory := io.NewSectionReader(snapshot, extent.Offset, extent.Length)
		if _, err := file.Seek(extent.Offset, io.SeekStart); err != nil {
			fmt.Println(err)
			return
		}
		if _, err := io.Copy(file, memory); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := file.Truncate(snapshot.Size()); err != nil {
		fmt.Println(err)
	}
}
