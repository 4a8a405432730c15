def add_to(app, endpoints):
    pass
