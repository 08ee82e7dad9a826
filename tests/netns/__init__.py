"""Real nodes on real kernels: hosts are network namespaces, made by `meshnet.lab`."""
