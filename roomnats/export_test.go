package roomnats

import "time"

func init() { firstWithin = 500 * time.Millisecond }
