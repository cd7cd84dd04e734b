// Command command writes the generated source of package lamina.
//
// Usage: go run ./internal/generate/command DOCUMENT OUTPUT   (go generate runs it)
package main

import (
	"fmt"
	"os"

	"lamina/go/lamina/internal/generate"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: command DOCUMENT OUTPUT")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func write(document, output string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	source, err := generate.Source(text)
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(output, source, 0o666)
}
