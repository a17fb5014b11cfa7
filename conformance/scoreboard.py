def write(out, path):
    pass
