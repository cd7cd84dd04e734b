package generate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// httpMethods has the constant of net/http for each method that the document may use.
var httpMethods = map[string]string{
	"get": "http.MethodGet", "post": "http.MethodPost", "delete": "http.MethodDelete",
}

// path writes the methods for one path of the document.
func (g *generator) path(path string) error {
	members := g.document.Paths.values[path]
	var shared []parameter
	if text, ok := members.values["parameters"]; ok {
		if err := json.Unmarshal(text, &shared); err != nil {
			return fmt.Errorf("parameters: %w", err)
		}
	}
	for _, method := range members.names {
		if method == "parameters" {
			continue
		}
		var op operation
		if err := json.Unmarshal(members.values[method], &op); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		op.Parameters = append(append([]parameter(nil), shared...), op.Parameters...)
		if err := g.method(path, method, op); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
	}
	return nil
}

// MethodName returns the name of the Go method for an operationId.
func MethodName(operationID string) string { return camel(operationID) }

func (g *generator) method(path, method string, op operation) error {
	constant, ok := httpMethods[method]
	if !ok || op.ID == "" {
		return fmt.Errorf("unknown method, or an operation without operationId")
	}
	name := MethodName(op.ID)
	reply, err := g.replyType(op)
	if err != nil {
		return err
	}
	arguments, target, err := pathArguments(path, op.Parameters)
	if err != nil {
		return err
	}
	queryCode, err := g.query(name, op.Parameters)
	if err != nil {
		return err
	}
	query := "nil"
	if queryCode != "" {
		arguments += fmt.Sprintf(", params %sParams", name)
		query = "query"
	}
	request := "nil"
	if op.RequestBody != nil {
		ref := op.RequestBody.Content["application/json"].Schema.Ref
		g.uses[schemaOf(ref)] = "the body of " + name
		body, err := g.reference(ref)
		if err != nil {
			return err
		}
		arguments += ", request " + body
		request = "request"
	}
	comment := name + ": " + lowerFirst(op.Summary) + "."
	if op.Description != "" {
		comment += " " + strings.TrimSuffix(op.Description, ".") + "."
	}
	writeComment(&g.methods, comment+"\n\n"+strings.ToUpper(method)+" "+path)
	star, ref := "*", "&"
	if reply == "string" || reply == "json.RawMessage" || strings.HasPrefix(reply, "[]") {
		star, ref = "", ""
	}
	fmt.Fprintf(&g.methods, "func (c *Client) %s(ctx context.Context%s) (%s%s, error) {\n", name, arguments, star, reply)
	g.methods.WriteString(queryCode)
	fmt.Fprintf(&g.methods, "var reply %s\n", reply)
	fmt.Fprintf(&g.methods, "err := c.call(ctx, operation{%q, %s, %q}, %s, %s, %s, &reply)\n",
		op.ID, constant, path, target, query, request)
	empty := "nil"
	if reply == "string" {
		empty = `""`
	}
	fmt.Fprintf(&g.methods, "if err != nil {\nreturn %s, err\n}\nreturn %sreply, nil\n}\n\n", empty, ref)
	return nil
}

func (g *generator) replyType(op operation) (string, error) {
	for kind, one := range op.Responses["200"].Content {
		switch {
		case kind == "text/plain":
			return "string", nil
		case kind == "application/json" && one.Schema.Ref == "":
			return "json.RawMessage", nil
		case kind == "application/json":
			g.uses[schemaOf(one.Schema.Ref)] = "the reply of " + MethodName(op.ID)
			return g.reference(one.Schema.Ref)
		case kind == "application/x-ndjson" && strings.HasSuffix(one.Schema.Ref, "/Event"):
			return "[]Event", nil
		}
	}
	return "", fmt.Errorf("operation '%s': its response has no known type", op.ID)
}

// pathArguments returns the parameters of the Go method for those in the path, and the expression
// for the path's values.
func pathArguments(path string, parameters []parameter) (arguments, values string, err error) {
	var pairs []string
	for _, one := range parameters {
		if one.In != "path" {
			continue
		}
		if !strings.Contains(path, "{"+one.Name+"}") {
			return "", "", fmt.Errorf("parameter '%s' is not in the path", one.Name)
		}
		arguments += ", " + one.Name + " string"
		pairs = append(pairs, fmt.Sprintf("{%q, %s}", one.Name, one.Name))
	}
	if strings.Count(path, "{") != len(pairs) {
		return "", "", fmt.Errorf("the path has a parameter that is not described")
	}
	if len(pairs) == 0 {
		return "", "nil", nil
	}
	return arguments, "[]pathValue{" + strings.Join(pairs, ", ") + "}", nil
}

// query writes NAMEParams and returns the code that makes url.Values of it.
func (g *generator) query(name string, parameters []parameter) (string, error) {
	var fields, code bytes.Buffer
	for _, one := range parameters {
		if one.In != "query" {
			continue
		}
		field := "params." + camel(one.Name)
		writeComment(&fields, one.Description)
		switch {
		case one.Schema.Type == "boolean" && one.Schema.Default == false:
			fmt.Fprintf(&fields, "%s bool\n", camel(one.Name))
			fmt.Fprintf(&code, "if %s {\nquery.Set(%q, \"true\")\n}\n", field, one.Name)
		case one.Schema.Type == "integer" && one.Schema.Default == nil:
			fmt.Fprintf(&fields, "%s int64\n", camel(one.Name))
			fmt.Fprintf(&code, "if %s != 0 {\nquery.Set(%q, strconv.FormatInt(%s, 10))\n}\n", field, one.Name, field)
		case one.Schema.Type == "string" && one.Schema.Default == nil:
			fmt.Fprintf(&fields, "%s string\n", camel(one.Name))
			fmt.Fprintf(&code, "if %s != \"\" {\nquery.Set(%q, %s)\n}\n", field, one.Name, field)
		default:
			return "", fmt.Errorf("parameter '%s': unknown type '%s' or default", one.Name, one.Schema.Type)
		}
	}
	if code.Len() == 0 {
		return "", nil
	}
	writeComment(&g.types, fmt.Sprintf("%sParams are the parameters of %s. The zero value is the default.", name, name))
	fmt.Fprintf(&g.types, "type %sParams struct {\n%s}\n\n", name, fields.Bytes())
	return "query := url.Values{}\n" + code.String(), nil
}
