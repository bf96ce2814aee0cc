module example.com/tcproom/cmd/tcproom

go 1.26.0

replace example.com/tcproom => ../..
