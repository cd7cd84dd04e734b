package lamina

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseMetrics reads what Client.Metrics returns: a value for each name with its labels, as in
// `laminad_pauses_total{kind="diff",outcome="done"}`.
func ParseMetrics(text string) (map[string]float64, error) {
	values := map[string]float64{}
	for number, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		space := strings.LastIndexByte(line, ' ')
		if space <= 0 {
			return nil, fmt.Errorf("line %d of the metrics: %q has no value", number+1, line)
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("line %d of the metrics: %w", number+1, err)
		}
		values[line[:space]] = value
	}
	return values, nil
}
