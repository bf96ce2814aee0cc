module example.com/tcproom/cmd/tcproom

go 1.26.0

replace example.com/tcproom => ../..

require (
	example.com/tcproom v0.0.0
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/stretchr/testify v1.12.1
	go.yaml.in/yaml/v4 v4.0.0
	golang.org/x/sync v0.24.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
