module lamina/go

go 1.19
