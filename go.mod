module example.com/tcproom

go 1.26
