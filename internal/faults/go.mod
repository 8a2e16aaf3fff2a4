module github.com/zapi-go/zapi/internal/faults

go 1.25.0

replace github.com/zapi-go/zapi => ../..

require (
	github.com/stretchr/testify v1.12.1
	github.com/zapi-go/zapi v0.1.0
	go.uber.org/goleak v1.3.0
	golang.org/x/net v0.58.0
	golang.org/x/time v0.15.0
)

require (
	github.com/go-resty/resty/v2 v2.17.2 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/text v0.41.0 // indirect
)
