from svtk.cli.main import main

main()
