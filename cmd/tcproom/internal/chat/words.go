package chat

import "strconv"

// count returns n and the word for one of it, or for several.
func count(n uint64, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatUint(n, 10) + " " + several
}
