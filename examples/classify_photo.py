"""Classify the faces of a photo with the embedded model.

Run: python examples/classify_photo.py photo.jpg
"""

import sys
from pathlib import Path

import edgegender

classifier = edgegender.Classifier()  # built once: it loads and verifies the model
predictor = edgegender.PhotoPredictor(classifier, edgegender.create_detector("cascade"))
for name in sys.argv[1:]:
    for face in predictor.predict_image(edgegender.read_image(Path(name))):
        answer = "unsure" if face.is_unsure else face.predicted_label
        print(f"{name}: {answer} ({face.predicted_label} {face.score:.3f})")
