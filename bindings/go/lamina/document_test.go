package lamina

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"lamina/go/lamina/internal/generate"
)

// document returns docs/openapi.json. An installed copy of this module does not have it.
func document(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../../../docs/openapi.json")
	if os.IsNotExist(err) && os.Getenv("LAMINA_GO_TEST_ALL") == "" {
		t.Skip("docs/openapi.json is not there: not lamina's source tree")
	}
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestGeneratedSourceIsUpToDate(t *testing.T) {
	want, err := generate.Source(document(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("api_generated.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("api_generated.go is not what docs/openapi.json says: run 'go generate ./lamina' in bindings/go")
	}
}

// Each operation of the document has a method of Client, which sends what the document says.
func TestEachOperationHasAMethod(t *testing.T) {
	var description struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(document(t), &description); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	operations := map[string]bool{}
	for path, members := range description.Paths {
		for method, text := range members {
			if method == "parameters" {
				continue
			}
			var one struct{ OperationID string }
			if err := json.Unmarshal(text, &one); err != nil {
				t.Fatal(err)
			}
			name := generate.MethodName(one.OperationID)
			operations[name] = true
			want := strings.ToUpper(method) + " " + strings.ReplaceAll(path, "{name}", "vm7")
			if got := requestOf(ctx, t, name); got != want {
				t.Errorf("Client.%s sends '%s', the document has '%s'", name, got, want)
			}
		}
	}
	if len(operations) < 15 {
		t.Errorf("the document has only %d operations: %v", len(operations), operations)
	}
	// And no method sends what the document does not have.
	client := reflect.TypeOf(&Client{})
	for i := 0; i < client.NumMethod(); i++ {
		if name := client.Method(i).Name; !operations[name] && name != "Follow" {
			t.Errorf("Client.%s is not an operation of the document", name)
		}
	}
}

// requestOf calls a method with zero values and the name vm7; returns "METHOD PATH" as it was sent.
func requestOf(ctx context.Context, t *testing.T, name string) string {
	t.Helper()
	daemon := newDaemon(t, replies(200, "{}"))
	method := reflect.ValueOf(newClient(daemon)).MethodByName(name)
	if !method.IsValid() {
		return ""
	}
	arguments := []reflect.Value{reflect.ValueOf(ctx)}
	for i := 1; i < method.Type().NumIn(); i++ {
		argument := reflect.New(method.Type().In(i)).Elem()
		if argument.Kind() == reflect.String {
			argument.SetString("vm7")
		}
		arguments = append(arguments, argument)
	}
	results := method.Call(arguments)
	if err, failed := results[1].Interface().(error); failed && name != "Events" {
		t.Errorf("Client.%s: %v", name, err)
	}
	requests := daemon.seen()
	if len(requests) != 1 {
		t.Fatalf("Client.%s sends %q", name, requests)
	}
	words := strings.SplitN(requests[0], " ", 3)
	return words[0] + " " + words[1]
}
